"""Typed values out of JSON: what does not fit is named by its place, with what was expected and what was found."""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from .errors import nearest

LARGEST = 1e300  # of a number: sums and products of such numbers are numbers still
LONGEST = 60  # characters of a value in a message
PLAIN: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    float: ("a number", lambda value: isinstance(value, int | float) and abs(value) < LARGEST),
    int: ("a whole number", lambda value: isinstance(value, int) and abs(value) < LARGEST),
    str: ("a text", lambda value: isinstance(value, str)),
    bool: ("true or false", lambda value: isinstance(value, bool)),
    dict: ("an object", lambda value: isinstance(value, dict)),
}


def read_typed(hint: Any, path: Path, most_bytes: int) -> Any:
    """The content of a JSON file; see `typed`. Raises OSError and ValueError."""
    if path.stat().st_size > most_bytes:
        raise ValueError(f"it has {path.stat().st_size} bytes; the limit is {most_bytes}")
    return typed(hint, parse(path.read_text("utf-8")))


def parse(text: str | bytes) -> Any:
    """Like `json.loads`, with a ValueError for whatever cannot be read, too deep a nesting included."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("its brackets are nested too deep") from None


def typed(hint: Any, content: Any, place: str = "") -> Any:
    """`content` as the type `hint`: a dataclass, a TypedDict, a list, tuple or dict of such, a plain type, or None.

    Entries that a dataclass does not know are refused. A TypedDict lets them pass, so that files of a newer release can be
    read, and stays a dict. Raises ValueError that names the place, as in `boards[2].modes[0].sms`.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return content
    if origin in (Union, types.UnionType):
        (wanted,) = [one for one in arguments if one is not type(None)]
        return None if content is None else typed(wanted, content, place)
    if origin is Literal:
        return _require(content in arguments, " or ".join(map(repr, arguments)), content, place)
    if origin in (list, tuple):
        _require(isinstance(content, list), "a list", content, place)
        if origin is list or arguments[-1] is Ellipsis:
            return origin(typed(arguments[0], item, f"{place}[{at}]") for at, item in enumerate(content))
        _require(len(content) == len(arguments), f"{len(arguments)} values", content, place)
        pairs = zip(arguments, content, strict=True)
        return tuple(typed(one, item, f"{place}[{at}]") for at, (one, item) in enumerate(pairs))
    if origin in (dict, Mapping) or hint is dict or is_typeddict(hint) or is_dataclass(hint):
        _require(isinstance(content, dict), "an object", content, place)
    if origin is dict:
        return {key: typed(arguments[1], value, _inside(place, key)) for key, value in content.items()}
    if is_typeddict(hint):
        return content | _entries(get_type_hints(hint), hint.__required_keys__, content, place)
    if is_dataclass(hint):
        return _dataclass(hint, content, place)
    name, fits = PLAIN[hint]
    _require(fits(content) and (hint is bool or not isinstance(content, bool)), name, content, place)
    return float(content) if hint is float else content


def _dataclass(hint: Any, content: dict[str, Any], place: str) -> Any:
    hints = get_type_hints(hint)
    required = {one.name for one in fields(hint) if one.default is MISSING and one.default_factory is MISSING}
    for key in content:
        if key not in hints:
            raise ValueError(f"{_inside(place, key)}: there is no such entry{nearest(key, hints)}")
    entries = _entries(hints, required, content, place)
    try:
        return hint(**entries)
    except ValueError as reason:  # what the class itself requires of its values
        raise ValueError(f"{place}: {reason}" if place else str(reason)) from None


def _entries(hints: Mapping[str, Any], required: Any, content: dict[str, Any], place: str) -> dict[str, Any]:
    missing = [key for key in hints if key in required and key not in content]
    if missing:
        raise ValueError(f"{place or 'the object'}: {missing[0]!r} is missing")
    return {key: typed(hints[key], content[key], _inside(place, key)) for key in hints if key in content}


def _require(fits: bool, wanted: str, content: Any, place: str) -> Any:
    if not fits:
        found = json.dumps(content, default=repr)
        found = found if len(found) <= LONGEST else f"{found[: LONGEST - 3]}..."
        raise ValueError(f"{place or 'the content'}: expected {wanted}, found {found}")
    return content


def _inside(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key
