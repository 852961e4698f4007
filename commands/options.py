"""Command-line options from the fields of a dataclass: each option is declared once, with its type, default and help.

    @dataclass(frozen=True)
    class Recipe:
        epochs: int = field(default=350, metadata={"help": "Number of passes over the training images."})

`add_options(parser, Recipe)` adds `--epochs`, and `read_options(Recipe, parser.parse_args())` makes the Recipe. Only fields
with `help` become options. Further entries of the metadata: `flag` (another spelling than the field's name), `aliases`,
`metavar`, `choices`, `group` (a title in --help), `exclusive` (options of one name exclude each other), `parse` (from text to
value), `nargs`, `const`. `help` and `choices` may be functions that read them from a table. Bounds of numbers:
runtime/bounds.py.
"""

from __future__ import annotations

import argparse
import types
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ..runtime.bounds import flag_of

T = TypeVar("T")
PASSED_ON = ("metavar", "nargs", "const", "choices")


def add_options(parser: argparse.ArgumentParser, kind: type, overrides: dict[str, Any] | None = None) -> None:
    """Adds an option for each field of the dataclass `kind` that has a help text.

    overrides: defaults by field, in place of the dataclass's own.
    """
    hints = get_type_hints(kind)
    exclusive: dict[str, argparse._MutuallyExclusiveGroup] = {}
    for entry in _options_of(kind):
        target: argparse._ActionsContainer = group_of(parser, entry.metadata.get("group"))
        if (name := entry.metadata.get("exclusive")) is not None:
            if name not in exclusive:
                exclusive[name] = target.add_mutually_exclusive_group()
            target = exclusive[name]
        default = (overrides or {}).get(entry.name, _default_of(entry))
        names = [flag_of(entry), *entry.metadata.get("aliases", ())]
        target.add_argument(*names, **_settings(entry, hints[entry.name], default))


def read_options(kind: type[T], options: argparse.Namespace, **further: Any) -> T:
    """The dataclass that the options describe. further: values of fields that are no options."""
    return kind(**{entry.name: getattr(options, entry.name) for entry in _options_of(kind)}, **further)


def group_of(parser: argparse.ArgumentParser, title: str | None) -> argparse._ActionsContainer:
    """The part of --help with that title, which several dataclasses may share."""
    if title is None:
        return parser
    found = [group for group in parser._action_groups if group.title == title]
    return found[0] if found else parser.add_argument_group(title)


def _options_of(kind: type) -> list[Field[Any]]:
    return [entry for entry in fields(kind) if "help" in entry.metadata]


def _default_of(entry: Field[Any]) -> Any:
    if entry.default_factory is not MISSING:
        return entry.default_factory()
    return entry.default


def _settings(entry: Field[Any], hint: Any, default: Any) -> dict[str, Any]:
    meta = {
        key: value() if key in ("help", "choices") and callable(value) else value
        for key, value in entry.metadata.items()
    }
    text = meta["help"].replace("%", "%%")  # argparse formats it
    settings: dict[str, Any] = {"dest": entry.name, "help": text}
    if default is MISSING:
        settings["required"] = True
    else:
        settings["default"] = default
    kind, choices = _kind_of(hint)
    if kind is bool:
        return {**settings, "action": "store_true"}
    settings |= {key: meta[key] for key in PASSED_ON if key in meta}
    if choices and "choices" not in meta:
        settings["choices"] = choices
    else:
        parse: Callable[[str], Any] = meta.get("parse", kind)
        settings["type"] = parse
        if parse is int:
            settings.setdefault("metavar", "N")
    if default not in (None, MISSING, ()) and "default" not in meta["help"]:
        shown = f"{default:g}" if isinstance(default, float) else str(default).replace("%", "%%")
        settings["help"] = f"{text.rstrip('.')} (default: {shown})."
    return settings


def _kind_of(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """The type of one value of a field, and its choices: `int | None` is an int, a Literal has choices."""
    if get_origin(hint) in (Union, types.UnionType):
        return _kind_of(next(one for one in get_args(hint) if one is not type(None)))
    if get_origin(hint) is Literal:
        return str, get_args(hint)
    if get_origin(hint) in (tuple, list):
        return get_args(hint)[0], ()
    return hint, ()
