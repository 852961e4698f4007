"""The rails that make up a module's total, and the steps of its sensors, from rails.json.

A parent rail is never added to its children. A total is the module's input, without carrier, fan, disk and USB.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

TABLE = Path(__file__).with_name("rails.json")
Text = Annotated[str, Meta(min_length=1)]
Names = Annotated[tuple[Text, ...], Meta(min_length=1)]


class Total(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A module's input: the sum of these rails, all of which must be there. modules: those with these rails."""

    modules: Text
    rails: Names
    source: Text


class Steps(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The value of one step of the current sensor on these rails, for a power source that does not report it."""

    modules: Text
    rails: Names
    step_mw: Annotated[float, Meta(gt=0)]
    source: Text


class Rails(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of rails.json."""

    totals: tuple[Total, ...]
    steps: tuple[Steps, ...]

    def __post_init__(self) -> None:
        named = [rail for row in self.steps for rail in row.rails]
        if len(set(named)) < len(named):
            raise ValueError("a rail has two steps")


@cache
def load_rails(path: Path = TABLE) -> Rails:
    """The table. Raises msgspec.ValidationError, a ValueError with the place of an error."""
    return msgspec.json.decode(path.read_bytes(), type=Rails)


def total_of(rails_mw: Mapping[str, float]) -> tuple[float, Total] | None:
    """The module's power in mW and the rails that it is made of; None for a board without a row."""
    for total in load_rails().totals:
        if all(name in rails_mw for name in total.rails):
            return sum(rails_mw[name] for name in total.rails), total
    return None


def step_mw(rail: str) -> float | None:
    """The step of a rail's sensor; None for a rail without a row."""
    return next((row.step_mw for row in load_rails().steps if rail in row.rails), None)
