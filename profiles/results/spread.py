"""How far a figure may lie from its value, by what the rounds of a run show: 95 % intervals over rounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..power.energy import spread


@dataclass(frozen=True)
class Interval:
    """A value and its interval; both ends are None where nothing is known of it, as with one round."""

    value: float
    low: float | None = None
    high: float | None = None

    def lies_above(self, limit: float) -> bool:
        return self.low is not None and self.low > limit

    def lies_below(self, limit: float) -> bool:
        return self.high is not None and self.high < limit

    def covers(self, low: float, high: float) -> bool:
        """Whether nothing between these two is ruled out."""
        return self.low is not None and self.high is not None and self.low <= low and self.high >= high

    def text(self, form: str) -> str:
        """The interval alone, as in "1.31 to 1.39"; form: of a number."""
        return "?" if self.low is None or self.high is None else f"{self.low:{form}} to {self.high:{form}}"


def interval_of(value: float, rounds: Sequence[float], bound: float | None = 0.0) -> Interval:
    """Around `value`, by what its rounds differ. bound: what may be wrong in all rounds alike; None where that is not known."""
    half = spread(rounds)
    if half is None or bound is None:
        return Interval(value)
    return Interval(value, value - half - bound, value + half + bound)


def ratio_interval(value: float, rounds: Sequence[float], bound: float | None = 0.0) -> Interval:
    """The same for a ratio above 0, on its logarithm: twice and half are equally far from 1. bound: of the logarithm."""
    of_log = interval_of(math.log(value), [math.log(one) for one in rounds], bound)
    if of_log.low is None or of_log.high is None:
        return Interval(value)
    return Interval(value, math.exp(of_log.low), math.exp(of_log.high))
