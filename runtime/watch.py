"""Watches a run for a change of the exit rate, or of how often SAC agrees with exits."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from .chain.drift import Drift
from .chain.result import Result

logger = logging.getLogger(__name__)
WATCHED_S = 1.0  # between two frames of a camera that count as observations


class Watch:
    """Warns once when the exit rate, or SAC's agreement with exits, has changed."""

    def __init__(
        self,
        is_live: bool,
        clock: Callable[[], float] = time.monotonic,
        on_drift: Callable[[str], None] | None = None,
    ) -> None:
        self._on_drift = on_drift
        self._every_s, self._clock = WATCHED_S if is_live else 0.0, clock
        self._last: dict[int, float] = {}
        self.exits, self.agreement = Drift("the exit rate"), Drift("SAC's agreement with exits")
        self.alarms: list[str] = []

    def observe(self, stream: int, result: Result) -> None:
        """Takes a frame. Of a camera only one per second counts, since frames close in time look the same."""
        alarm = None if result.agreed is None else self.agreement.observe(result.agreed)
        now = self._clock()
        if now - self._last.get(stream, -1e9) >= self._every_s:
            self._last[stream] = now
            alarm = self.exits.observe(result.exits_early and not result.degraded) or alarm
        if alarm is not None:
            self.alarms.append(alarm)
            logger.warning("%s. Look at the camera, or tune again: sacvit-tune", alarm)
            if self._on_drift is not None:
                self._on_drift(alarm)
