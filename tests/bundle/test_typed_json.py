from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import pytest

from sacvit.bundle.typed_json import parse, read_typed, typed


@dataclass(frozen=True)
class Inner:
    size: int

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError("size must not be negative")


@dataclass(frozen=True)
class Outer:
    name: str
    parts: tuple[Inner, ...]
    width: float | None = None
    kind: Literal["a", "b"] = "a"


class Line(TypedDict):
    counts: dict[str, int]
    flag: bool
    pair: tuple[str, float]


LINE = {"counts": {"exit": 3}, "flag": True, "pair": ["x", 1]}


def test_a_dataclass_is_made_of_an_object_with_its_parts():
    found = typed(Outer, {"name": "x", "parts": [{"size": 1}], "width": 2})
    assert found == Outer("x", (Inner(1),), 2.0) and isinstance(found.width, float)


def test_a_typed_dict_stays_a_dict_and_keeps_entries_of_newer_releases():
    assert typed(Line, {**LINE, "new": []}) == {"counts": {"exit": 3}, "flag": True, "pair": ("x", 1.0), "new": []}


def test_whatever_is_allowed_passes():
    assert typed(list[Any], [{}, None]) == [{}, None]


@pytest.mark.parametrize(
    ("hint", "content", "message"),
    [
        (Outer, [], "the content: expected an object, found []"),
        (Outer, {"name": "x"}, "the object: 'parts' is missing"),
        (Outer, {"name": 5, "parts": []}, "name: expected a text, found 5"),
        (Outer, {"name": "x", "parts": {}}, "parts: expected a list, found {}"),
        (Outer, {"name": "x", "parts": [{"size": 1}, []]}, "parts[1]: expected an object, found []"),
        (Outer, {"name": "x", "parts": [{"size": 1.5}]}, "parts[0].size: expected a whole number, found 1.5"),
        (Outer, {"name": "x", "parts": [{"size": True}]}, "parts[0].size: expected a whole number, found true"),
        (Outer, {"name": "x", "parts": [{"size": -1}]}, "parts[0]: size must not be negative"),
        (Outer, {"name": "x", "parts": [], "widht": 1}, "widht: there is no such entry (did you mean width?)"),
        (Outer, {"name": "x", "parts": [], "width": float("nan")}, "width: expected a number, found NaN"),
        (Outer, {"name": "x", "parts": [], "width": 10**400}, "width: expected a number, found 1000"),
        (Outer, {"name": "x", "parts": [], "kind": "c"}, "kind: expected 'a' or 'b', found \"c\""),
        (Line, {**LINE, "counts": {"exit": None}}, "counts.exit: expected a whole number, found null"),
        (Line, {**LINE, "flag": 1}, "flag: expected true or false, found 1"),
        (Line, {**LINE, "pair": ["x"]}, 'pair: expected 2 values, found ["x"]'),
    ],
)
def test_what_does_not_fit_is_named_by_its_place(hint, content, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        typed(hint, content)


def test_brackets_without_end_are_no_traceback():
    with pytest.raises(ValueError, match="nested too deep"):
        parse("[" * 200_000)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    (tmp_path / "x.json").write_text('"' + "x" * 100 + '"')
    with pytest.raises(ValueError, match="has 102 bytes; the limit is 64"):
        read_typed(str, tmp_path / "x.json", 64)
