"""Values and names for figures: they may come from untrusted files, so they are limited and cleaned."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    Values = Sequence[float] | npt.NDArray[np.floating]

LARGEST, SMALLEST = 1e12, 1e-12  # of a value; beyond, axes lack digits
MOST_POINTS = 2000  # of a line; more are not visible and make the page large


@dataclass(frozen=True)
class Line:
    """y over x, of the same length; style: of matplotlib; colour: a place in SERIES, by default that of the line.

    A line without a name is not in the legend.
    """

    name: str
    x: Values
    y: Values
    style: str = "-"
    colour: int | None = None
    plus_minus: Values = ()  # half the width of each point's interval


def usable(values: Values) -> npt.NDArray[np.float64]:
    """The values that can be drawn, as a flat array."""
    numbers = np.asarray(values, dtype=np.float64).ravel()
    numbers = numbers[np.abs(numbers) <= LARGEST]  # NaN compares false
    return np.where(np.abs(numbers) < SMALLEST, 0.0, numbers)


def clean(name: str) -> str:
    """A name without line ends and characters that are not printable, most of which XML forbids."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in " ".join(str(name).split()))


def shortened(name: str, most: int = 40) -> str:
    """A name of limited length. matplotlib hides names that begin with an underscore, so it gets a space in front."""
    text = clean(name)
    text = text if len(text) <= most else f"{text[: most - most // 3 - 1]}\u2026{text[-(most // 3) :]}"
    return f" {text}" if text.startswith("_") else text


def points_of(line: Line) -> tuple[npt.NDArray[np.float64], ...]:
    """x and y, thinned; NaN where y cannot be drawn, which interrupts the line; empty where no point can be drawn."""
    x, y = np.asarray(line.x, np.float64).ravel(), np.asarray(line.y, np.float64).ravel()
    if x.shape != y.shape:
        raise ValueError(f"{line.name} has {len(x)} places and {len(y)} values: a Line needs one of each")
    good = np.abs(x) <= LARGEST
    x, y = x[good], np.where(np.abs(y[good]) <= LARGEST, y[good], np.nan)
    x, y = (np.where(np.abs(values) < SMALLEST, 0.0, values) for values in (x, y))
    if np.isnan(y).all():
        return x[:0], y[:0]
    return _thinned(x, y) if len(x) > MOST_POINTS else (x, y)


def _thinned(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], ...]:
    """The lowest and the highest point of each of MOST_POINTS / 2 pieces, which keeps peaks."""
    ends = np.linspace(0, len(x), MOST_POINTS // 2 + 1).astype(int)
    low, high = (
        [start + int(pick(known[start:end])) for start, end in itertools.pairwise(ends)]
        for pick, known in (
            (np.argmin, np.where(np.isnan(y), np.inf, y)),
            (np.argmax, np.where(np.isnan(y), -np.inf, y)),
        )
    )
    kept = np.unique(np.concatenate([low, high]))
    return x[kept], y[kept]
