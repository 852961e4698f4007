"""Options whose numbers are checked, whether they come from a command line or from Python.

@dataclass(frozen=True)
class VideoOptions(Bounded):
    shadow: float = field(default=0.0, metadata={"help": "...", "least": 0, "most": 1})
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import Field, fields
from typing import Any

from ..bundle.errors import UsageError

BOUNDS: tuple[tuple[str, Callable[[float, float], bool], str], ...] = (  # NaN violates all of them
    ("least", operator.ge, "at least"),
    ("most", operator.le, "at most"),
    ("above", operator.gt, "above"),
)


def read_shares(text: str) -> tuple[float, ...]:
    """Different shares in (0, 1], as in 0.25,0.5. Raises UsageError for anything else."""
    try:
        found = tuple(float(one) for one in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(0 < one <= 1 for one in found) or len(set(found)) < len(found):
        raise UsageError(f"give different shares above 0 and at most 1, as in 0.25,0.75; found {text!r:.60}")
    return found


def flag_of(entry: Field[Any]) -> str:
    """--calib-count for the field calib_count."""
    return str(entry.metadata.get("flag", "--" + entry.name.replace("_", "-")))


class Bounded:
    """Base of a dataclass that raises UsageError for a number outside the bounds that its field's metadata give."""

    def __post_init__(self) -> None:
        for entry in fields(self):  # type: ignore[arg-type]  # of a dataclass
            value = getattr(self, entry.name)
            bounds = [(holds, said, entry.metadata[name]) for name, holds, said in BOUNDS if name in entry.metadata]
            if value is None or not bounds:
                continue
            if not all(holds(value, bound) for holds, _, bound in bounds) or not math.isfinite(value):
                allowed = " and ".join(f"{said} {bound:g}" for _, said, bound in bounds)
                raise UsageError(f"{flag_of(entry)} must be {allowed}, found {value:g}")
