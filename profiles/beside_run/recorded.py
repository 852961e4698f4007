"""What a run has left: its frames and its power over time."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..power.energy import TOTAL
from .windows import Windows

MOST_SERIES = 64  # rails or zones; AGX Thor has 4 and 9
JUMP_S = 1.0  # of the system's clock between two lines


def doubles() -> array[float]:
    return array("d")


@dataclass
class Frames:
    """A place per answer. answered_s: monotonic; offset_s: what is added for Unix time; ms: of preparation, EE and SAC."""

    answered_s: array[float] = field(default_factory=doubles)
    offset_s: array[float] = field(default_factory=doubles)
    ms: array[float] = field(default_factory=doubles)
    is_full: bytearray = field(default_factory=bytearray)

    def add(self, answered_s: float, offset_s: float, ms: float, is_full: bool) -> None:
        self.answered_s.append(answered_s)
        self.offset_s.append(offset_s)
        self.ms.append(ms)
        self.is_full.append(is_full)

    @property
    def jump_s(self) -> float:
        """The largest jump of the system's clock from one frame to the next."""
        return float(np.abs(np.diff(np.array(self.offset_s))).max(initial=0.0))


@dataclass
class Recorded:
    """A run. about: for the head of a page; lines: of power by rail, monotonic s and W; zones: likewise, degrees Celsius.

    windows: of the power log, closed; None where the file holds no readings. utc_offset_s: of local time where it ran.
    """

    path: Path
    frames: Frames
    about: list[tuple[str, str]] = field(default_factory=list)
    power_w: dict[str, tuple[array[float], array[float]]] = field(default_factory=dict)
    zones_c: dict[str, tuple[array[float], array[float]]] = field(default_factory=dict)
    windows: Windows | None = None
    notes: list[str] = field(default_factory=list)
    most_cut: int = 0
    survivors_share: bool = False
    utc_offset_s: int | None = None
    is_ended: bool = True


def with_total(rails: Mapping[str, float], total_rails: Sequence[str]) -> dict[str, float]:
    """The rails and their total, where it is the sum of several and all of them are there."""
    if len(total_rails) < 2 or any(rail not in rails for rail in total_rails):
        return dict(rails)
    return {**rails, TOTAL: sum(rails[rail] for rail in total_rails)}


def extend(table: dict[str, tuple[array[float], array[float]]], time_s: float, values: Mapping[str, float]) -> None:
    """Adds a value to the series of each name; names beyond MOST_SERIES are left out, since a file may hold any number."""
    for name, value in values.items():
        if name not in table and len(table) >= MOST_SERIES:
            continue
        times, column = table.setdefault(name, (doubles(), doubles()))
        times.append(time_s)
        column.append(value)
