"""95 % intervals of values, from the rounds of a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..power.energy import spread


@dataclass(frozen=True)
class Interval:
    """A value and its interval; both ends are None where it is unknown, as with one round."""

    value: float
    low: float | None = None
    high: float | None = None

    def lies_above(self, limit: float) -> bool:
        return self.low is not None and self.low > limit

    def lies_below(self, limit: float) -> bool:
        return self.high is not None and self.high < limit

    def covers(self, low: float, high: float) -> bool:
        """Whether the interval contains all values between these two."""
        return self.low is not None and self.high is not None and self.low <= low and self.high >= high

    def text(self, form: str) -> str:
        """The interval alone, as in "1.31 to 1.39"; form: of a number."""
        return "?" if self.low is None or self.high is None else f"{self.low:{form}} to {self.high:{form}}"


def interval_of(value: float, rounds: Sequence[float], bound: float | None = 0.0) -> Interval:
    """The interval around `value` by its rounds. bound: the error that all rounds may share; None where it is unknown."""
    half = spread(rounds)
    if half is None or bound is None:
        return Interval(value)
    return Interval(value, value - half - bound, value + half + bound)


def ratio_interval(value: float, rounds: Sequence[float], bound: float | None = 0.0) -> Interval:
    """The same for a ratio above 0, computed on its logarithm, so that 2 and 1/2 are equally far from 1. bound: of the
    logarithm."""
    of_log = interval_of(math.log(value), [math.log(one) for one in rounds], bound)
    if of_log.low is None or of_log.high is None:
        return Interval(value)
    return Interval(value, math.exp(of_log.low), math.exp(of_log.high))
