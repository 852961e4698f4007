"""RAPL: the energy counters of x86 processors, through Linux's powercap. AMD's appear under Intel's name.

kernel.org, power/powercap. Package zones hold core and uncore; psys holds the packages; dram stands beside them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...machine.small_files import ROOT, read_number, read_text
from .source import Clock, Kind, PowerError, PowerSource, Reading, Sensor

ZONES = "sys/class/powercap"
CURE = "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj"
IN_TOTAL = re.compile(r"(package-\d+(-die-\d+)?|dram)( .*)?$")


@dataclass
class Zone:
    """A counter. It starts over at `range_uj`."""

    path: Path
    range_uj: int
    last_uj: int
    total_uj: int = 0

    def advance(self) -> float | None:
        """mJ since the source was opened; None when the counter is gone."""
        now = read_number(self.path)
        if now is None:
            return None
        step = now - self.last_uj
        self.total_uj += step if step >= 0 else step + self.range_uj
        self.last_uj = now
        return self.total_uj / 1e3


class RaplPower(PowerSource):
    """See `PowerSource`. Raises PowerError when no zone can be read."""

    kind: Kind = "energy"
    default_filter_s = 0.001  # the counters move every millisecond

    def __init__(self, root: Path = ROOT, clock: Clock = time.perf_counter) -> None:
        self._clock = clock
        self._zones: dict[str, Zone] = {}
        folders = sorted((root / ZONES).glob("intel-rapl:*"))
        if not folders:
            raise PowerError("no intel-rapl zone in /sys/class/powercap (a virtual machine has none)")
        hidden = []
        for folder in folders:
            name, counter = read_text(folder / "name"), folder / "energy_uj"
            now, span = read_number(counter), read_number(folder / "max_energy_range_uj")
            if name is None or now is None or span is None or span <= 0:
                hidden.append(name or folder.name)
                continue
            package = folder.name.removeprefix("intel-rapl:").partition(":")[0]
            label = name if name.startswith(("package", "psys")) else f"{name} {package}"
            self._zones[label] = Zone(counter, span, now)
        if not self._zones:
            raise PowerError(f"{len(folders)} RAPL zones, none readable: Linux shows them to root only. {CURE}")
        self.name = "RAPL through powercap"
        self.sensors: Mapping[str, Sensor] = {
            label: Sensor(details={"range_uj": zone.range_uj}) for label, zone in self._zones.items()
        }
        self.total_rails: tuple[str, ...] = tuple(label for label in self._zones if IN_TOTAL.fullmatch(label))
        self.scope = "the processor's packages and memory as RAPL models them; disk, fan and supply lie outside"
        if lacking := [name for name in hidden if IN_TOTAL.fullmatch(name)]:  # never report a part as the total
            self.total_rails, self.scope = (), f"no total: {', '.join(lacking)} cannot be read. {CURE}"

    def read(self) -> list[Reading]:
        """One reading; see `PowerSource`."""
        before = self._clock()
        rails = {name: energy for name, zone in self._zones.items() if (energy := zone.advance()) is not None}
        if not rails:
            raise PowerError(f"{self.name}: no zone can be read any more")
        return [Reading((before + self._clock()) / 2, rails)]

    def close(self) -> None:
        pass
