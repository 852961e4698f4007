"""Which rails make up a module's total, and the steps of its sensors: read from rails.json.

A parent rail is never added to its children. Carrier, fan, disk and USB lie outside: a total here is the module's input, never
the board's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ...bundle.typed_json import read_typed

TABLE = Path(__file__).with_name("rails.json")
MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Total:
    """A module's input: the sum of these rails, all of which must be there. modules: that have these rails."""

    modules: str
    rails: tuple[str, ...]
    source: str

    def __post_init__(self) -> None:
        if not self.rails or not self.source:
            raise ValueError("a total needs rails and a source")


@dataclass(frozen=True)
class Steps:
    """What one step of the current sensor is worth on these rails, for a power source that does not report it."""

    modules: str
    rails: tuple[str, ...]
    step_mw: float
    source: str

    def __post_init__(self) -> None:
        if self.step_mw <= 0 or not self.source:
            raise ValueError("steps need a step_mw above 0 and a source")


@dataclass(frozen=True)
class Rails:
    """The content of rails.json."""

    totals: tuple[Total, ...]
    steps: tuple[Steps, ...]

    def __post_init__(self) -> None:
        named = [rail for row in self.steps for rail in row.rails]
        if len(set(named)) < len(named):
            raise ValueError("a rail has two steps")


@cache
def load_rails(path: Path = TABLE) -> Rails:
    """The table. Raises ValueError that names the entry for one that cannot be meant."""
    table: Rails = read_typed(Rails, path, MAX_BYTES)
    return table


def total_of(rails_mw: Mapping[str, float]) -> tuple[float, Total] | None:
    """The module's power in mW and the rails that it is made of; None for a board that no row knows."""
    for total in load_rails().totals:
        if all(name in rails_mw for name in total.rails):
            return sum(rails_mw[name] for name in total.rails), total
    return None


def step_mw(rail: str) -> float | None:
    """The step of a rail's sensor; None for a rail that no row knows."""
    return next((row.step_mw for row in load_rails().steps if rail in row.rails), None)
