"""Options of a command from a TOML file: --config FILE, and --print-config, which writes such a file.

A key is an option's name, with dashes or underscores. An option that may be given several times or takes several values is a
list. What the command line gives takes precedence; a list of the command line replaces the file's. Relative paths count from
the file's folder, since a service starts in `/`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..bundle.errors import UsageError, nearest

MAX_BYTES = 1 << 18
CONFIG_HELP = (
    'Read options from FILE (TOML: threshold = 0.7, camera = ["0"]). The command line takes precedence. Relative paths in FILE'
    " count from its folder."
)
# Options that do something else than run, and the two of this file.
NOT_IN_A_FILE = frozenset(["help", "version", "print_completion", "check_camera", "config", "print_config"])
TYPES = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "a table",
}
Place = Callable[[str, Path], str]  # a text of the file, and the file's folder: the text with an absolute path
Action = argparse.Action


class _NotGiven:
    """Stands in the namespace for what the command line does not give. argparse copies it where it appends to a list."""

    def __copy__(self) -> list[Any]:
        return []


NOT_GIVEN = _NotGiven()


def add_config_options(parser: argparse.ArgumentParser, places: Mapping[str, Place]) -> None:
    """Adds --config and --print-config, behind all other options.

    places: how the texts of some options become absolute. Options of type Path need none.
    """
    for action in parser._actions:
        place = in_folder if action.type is Path else places.get(action.dest)
        if place is not None:
            action.place = place  # type: ignore[attr-defined]
    parser.add_argument("--config", type=Path, metavar="FILE", help=CONFIG_HELP)
    parser.add_argument(
        "--print-config",
        action="store_true",
        help="Print every option with its value as TOML, as --config reads it, and exit.",
    )


def in_folder(path: str, folder: Path) -> str:
    """A path that a file in `folder` names. A slash at its end stays."""
    return f"{folder / path}{'/' if path.endswith('/') else ''}"


def parse_options(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """The options of a command line and of the file that it names with --config.

    With a file, `from_file` of the result are the words and the options as they were read: what a later reading is compared
    with. Raises UsageError for a file with a mistake, which names the file and the key.
    """
    actions = _actions_of(parser)
    file = _config_of(parser, words)
    if file is None:
        return parser.parse_args(words)
    values = _read_file(file, parser.prog, actions)
    for action in actions:
        action.required = action.required and action.dest not in values
    options = parser.parse_args(words, argparse.Namespace(**dict.fromkeys((one.dest for one in actions), NOT_GIVEN)))
    for action in actions:
        if getattr(options, action.dest) is NOT_GIVEN:
            setattr(options, action.dest, values.get(action.dest, action.default))
    options.from_file = list(words), dict(vars(options))
    return options


def _config_of(parser: argparse.ArgumentParser, words: Sequence[str]) -> Path | None:
    """The file that --config names, before the other options are parsed."""
    if "--config" not in parser._option_string_actions:
        return None
    alone = argparse.ArgumentParser(prog=parser.prog, add_help=False, allow_abbrev=False)
    alone.add_argument("--config", type=Path)
    return alone.parse_known_args(words)[0].config  # type: ignore[no-any-return]


def _actions_of(parser: argparse.ArgumentParser) -> list[Action]:
    """The options that a file may hold."""
    return [action for action in parser._actions if action.option_strings and action.dest not in NOT_IN_A_FILE]


def _read_file(file: Path, prog: str, actions: Sequence[Action]) -> dict[str, Any]:
    """The values of a file, by the names in the namespace, converted and checked as the command line's are."""
    known = {name.lstrip("-"): action for action in actions for name in action.option_strings if name.startswith("--")}
    values: dict[str, Any] = {}
    folder = file.absolute().parent
    for key, value in _parse(file).items():
        action = known.get(key.replace("_", "-"))
        if action is None:
            only = key.replace("-", "_") in NOT_IN_A_FILE
            why = f"{key} is for the command line only" if only else f"{prog} has no option {key}{nearest(key, known)}"
            raise UsageError(f"--config {file}: {why}")
        if action.dest in values:
            raise UsageError(f"--config {file}: {key} is given twice, by two spellings of one option")
        try:
            values[action.dest] = _converted(action, value, folder)
        except (ValueError, OverflowError, argparse.ArgumentTypeError, UsageError) as reason:
            raise UsageError(f"--config {file}: {key}: {reason}") from None
    return values


def _parse(file: Path) -> dict[str, Any]:
    """The file as TOML has it. Raises UsageError for one that is missing, too large or no TOML."""
    if sys.version_info >= (3, 11):  # here: it costs 15 ms, and most runs have no file
        import tomllib
    else:
        import tomli as tomllib
    if not file.is_file():
        raise UsageError(f"--config {file}: no such file. Print one: --print-config")
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as reason:
        raise UsageError(f"--config {file} cannot be read: {reason.strerror or reason}") from None
    if len(content) > MAX_BYTES:
        raise UsageError(f"--config {file} has more than {MAX_BYTES} bytes: this is no file of options")
    try:
        return tomllib.loads(content.decode())
    except (ValueError, RecursionError) as reason:  # errors of TOML and of UTF-8 are ValueErrors
        raise UsageError(f"--config {file} is no TOML: {reason}") from None


def _converted(action: Action, value: Any, folder: Path) -> Any:
    """A value of TOML as the option's. Raises ValueError or UsageError for one that the option does not take."""
    if action.nargs == 0:  # a switch
        return _of_type(value, bool)
    if action.nargs == "?" and isinstance(value, bool):
        return action.const if value else action.default
    if not _takes_several(action):
        return _one(action, value, folder)
    entries = value if isinstance(value, list) else [value]
    if not entries and action.nargs == "+":
        raise ValueError("expected at least one entry, found none")
    return [_one(action, entry, folder) for entry in entries]


def _takes_several(action: Action) -> bool:
    return isinstance(action, argparse._AppendAction) or action.nargs in ("+", "*")


def _one(action: Action, value: Any, folder: Path) -> Any:
    convert = action.type if callable(action.type) else str
    kind = convert if convert in (int, float) else str
    value = _of_type(value, kind)
    if kind is str and "\0" in value:
        raise ValueError("a string holds a zero byte")
    if (place := getattr(action, "place", None)) is not None:
        value = place(value, folder)
    found = value if kind is not str else convert(value)
    if action.choices is not None and found not in action.choices:
        raise ValueError(f"expected one of {', '.join(map(str, action.choices))}; found {value}")
    return found


def _of_type(value: Any, kind: Any) -> Any:
    """The value where TOML has it in this type; an integer is a number too, and a name (camera = 0). Raises ValueError."""
    if kind in (float, str) and type(value) is int:
        return kind(value)
    if type(value) is not kind:
        raise ValueError(f"expected {TYPES[kind]}, found {_name_of(value)}")
    return value


def _name_of(value: Any) -> str:
    return TYPES.get(type(value), "a date or a time")


def print_config(parser: argparse.ArgumentParser, options: argparse.Namespace) -> str:
    """The options as TOML with absolute paths, so that the file may lie anywhere; those without a value as comments."""
    lines = [f"# Options of {parser.prog}. Those that are not set begin with #."]
    here = Path.cwd()
    for action in _actions_of(parser):
        name = action.option_strings[0].lstrip("-")
        value = getattr(options, action.dest)
        if value is None:
            lines.append(f"# {name} = {'|'.join(action.choices or ()) or action.metavar or action.dest.upper()}")
            continue
        place: Place = getattr(action, "place", lambda text, folder: text)
        if _takes_several(action):
            lines.append(f"{name} = [{', '.join(_text_of(place(str(entry), here)) for entry in value)}]")
        elif isinstance(value, bool | int | float):
            lines.append(f"{name} = {_text_of(value)}")
        else:
            text = ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
            lines.append(f"{name} = {_text_of(place(text, here))}")
    return "\n".join(lines)


def _text_of(value: bool | int | float | str) -> str:
    """A value as TOML writes it. Raises UsageError for the name of a file that is no text."""
    if not isinstance(value, str):
        return str(value).lower() if isinstance(value, bool) else repr(value)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UsageError(f"--print-config: {value!r} is no text, which TOML cannot hold") from None
    return re.sub("\x7f", r"\\u007f", json.dumps(value, ensure_ascii=False))
