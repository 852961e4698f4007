"""Temperatures and power of the machine, read once per second while the web view runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Readings:
    """temperatures: degrees Celsius by zone. watts: by rail; total_w: of the board, where a sensor says."""

    temperatures: Mapping[str, float] = field(default_factory=dict)
    watts: Mapping[str, float] = field(default_factory=dict)
    total_w: float | None = None


class Sensors:
    """Reads with a function that the caller gives, and keeps the last readings. A fault is reported once."""

    def __init__(self, read: Callable[[], Readings]) -> None:
        self._read, self._is_broken = read, False
        self.last = Readings()

    def update(self) -> None:
        try:
            self.last, self._is_broken = self._read(), False
        except OSError as fault:
            self.last = Readings()
            if not self._is_broken:
                logger.warning("temperatures and power cannot be read: %s", fault)
            self._is_broken = True

    def columns(self) -> dict[str, float]:
        """What the charts show: the hottest zone, and the board's power."""
        found = {}
        if self.last.temperatures:
            found["hottest_c"] = max(self.last.temperatures.values())
        if self.last.total_w is not None:
            found["power_w"] = self.last.total_w
        return found
