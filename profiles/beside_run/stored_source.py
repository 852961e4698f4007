"""A power source whose readings come from a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..power.source import Kind, PowerSource, Reading, Sensor, module_total
from ..power.tegrastats import TegrastatsPower

STAMP_S = 0.5  # a line of tegrastats has a time in whole seconds
MOST_MISSED = 2.5  # intervals between lines of a log; a longer gap was not measured


class StoredSource(PowerSource):
    """See `PowerSource`. Its readings are handed to a `Sampler` by whoever reads the file."""

    default_filter_s = 1.0  # as INA3221 and tegrastats assume; their sensors' own is in the description

    def __init__(
        self,
        name: str,
        kind: Kind,
        scope: str,
        sensors: Mapping[str, Sensor],
        total_rails: tuple[str, ...],
        gap_s: float,
    ) -> None:
        self.name, self.kind, self.scope, self.sensors = name, kind, scope, sensors
        self.total_rails, self.longest_gap_s = total_rails, gap_s

    def read(self) -> list[Reading]:
        return []

    def close(self) -> None:
        pass


def source_of_description(described: Mapping[str, Any]) -> StoredSource:
    """The source that `describe` has described, without its readings."""
    sensors = {rail: Sensor(one["step_mw"], one["filter_s"]) for rail, one in described["sensors"].items()}
    gap_s = TegrastatsPower.longest_gap_s if described["source"] == "tegrastats" else PowerSource.longest_gap_s
    kind: Kind = "energy" if described["kind"] == "energy" else "power"
    total = tuple(described["total_rails"])
    return StoredSource(described["source"], kind, described["scope"], sensors, total, gap_s)


def source_of_log(name: str, rails: list[str], interval_s: float) -> StoredSource:
    """A log of tegrastats with a line every `interval_s`. The error of its times counts as smoothing."""
    sensor = Sensor(None, TegrastatsPower.default_filter_s + STAMP_S)
    total, scope = module_total(rails)
    sensors = dict.fromkeys(rails, sensor)
    return StoredSource(name, "power", scope, sensors, total, max(MOST_MISSED * interval_s, 1.0))
