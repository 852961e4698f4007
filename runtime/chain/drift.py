"""Detects that a stream has changed: a cumulative sum over yes-or-no observations. Page, Biometrika 41, 1954."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

LEARNT = 2000  # observations for the normal rate: then it is known to one point, a tenth of SHIFT
SHIFT = 0.1  # the change of the rate, up or down, that raises an alarm
ALARM = 12.0  # log likelihood ratio: e^12 = 160 000 observations between false alarms at least
EDGE = 0.005  # learnt rates are kept this far from 0 and 1


@dataclass
class Drift:
    """Watches a rate. The first LEARNT observations define the normal one.

    A shift by SHIFT is noticed about ALARM / KL observations later, KL being the divergence of the two rates: 480 from 0.75 to
    0.65; within four times as many where the normal rate was learnt a point off. Observations must be independent: of video,
    take one per second.
    """

    name: str
    learnt: int = 0
    positive: int = 0
    up: float = 0.0
    down: float = 0.0
    recent: list[bool] = field(default_factory=list)
    alarm: str | None = None

    @property
    def normal(self) -> float:
        return min(max(self.positive / max(self.learnt, 1), EDGE), 1 - EDGE)

    def observe(self, value: bool) -> str | None:
        """Adds an observation. Returns the alarm's text when this one raises it, else None. There is only one alarm."""
        if self.learnt < LEARNT:
            self.learnt += 1
            self.positive += value
            return None
        self.recent = [*self.recent[-99:], value]
        self.up = max(0.0, self.up + self._ratio(value, self.normal + SHIFT))
        self.down = max(0.0, self.down + self._ratio(value, self.normal - SHIFT))
        if self.alarm is None and max(self.up, self.down) > ALARM:
            now = sum(self.recent) / len(self.recent)
            self.alarm = f"{self.name} was {self.normal:.1%} and is now about {now:.1%}"
            return self.alarm
        return None

    def _ratio(self, value: bool, shifted: float) -> float:
        """Log likelihood ratio of the shifted rate to the normal one."""
        rate = min(max(shifted, EDGE / 2), 1 - EDGE / 2)
        return math.log(rate / self.normal) if value else math.log((1 - rate) / (1 - self.normal))
