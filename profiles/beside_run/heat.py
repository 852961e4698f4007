"""Temperatures and throttling over a run: between its ends, only what is read within a millisecond."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..conditions.heat import read_cooling, read_temperatures


class HeatWatch:
    """The first, the highest and the last temperature of each zone, and the devices that throttled."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.zones: dict[str, dict[str, float]] = {}
        self.throttled: dict[str, float] = {}  # by device: when it was first seen at work

    def look(self, now_s: float) -> tuple[dict[str, Any], list[str]]:
        """What is read now, and the devices that throttle for the first time."""
        temperatures, cooling = read_temperatures(self._root), read_cooling(self._root)
        for zone, value in temperatures.items():
            seen = self.zones.setdefault(zone, {"first": value, "max": value, "last": value})
            seen["max"], seen["last"] = max(seen["max"], value), value
        new = [name for name, step in cooling.items() if step > 0 and name not in self.throttled]
        self.throttled |= dict.fromkeys(new, now_s)
        return {"temperatures_c": temperatures, "cooling": cooling}, new
