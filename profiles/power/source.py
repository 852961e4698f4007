"""The interface of power sources: power by rail, and the properties of the sensors.

Facts about sensors and their sources: docs/profiling.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

from ...bundle.errors import DeviceError
from .rails import total_of

PERIOD_S = 0.1  # between readings: an INA3221's filter and NVML's counter do not change faster
LONGEST_GAP_S = 2 * PERIOD_S  # between readings of a source that answers on request: allows one late reading
Kind = Literal["power", "energy"]  # instantaneous mW, or mJ since a start
Clock = Callable[[], float]


class PowerError(DeviceError):
    """A source does not answer, or no longer answers."""


@dataclass(frozen=True)
class Sensor:
    """The properties of a rail's sensor; None where unknown.

    step_mw: the smallest difference that it shows. filter_s: time constant of its own smoothing. source: where both are
    published.
    """

    step_mw: float | None = None
    filter_s: float | None = None
    source: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """All rails at one time of our own monotonic clock: mW, or mJ from a source that counts energy."""

    time_s: float
    rails: Mapping[str, float]


class PowerSource(Protocol):
    """A source of power readings. How to add one: docs/extending.md."""

    name: str  # for people
    kind: Kind
    sensors: Mapping[str, Sensor]  # by rail
    total_rails: tuple[str, ...]  # the rails in the total; empty where no total is known
    scope: str  # a description of the total
    default_filter_s: float  # of a sensor that does not report its own
    longest_gap_s: float = LONGEST_GAP_S  # between two readings; a longer gap was not measured
    measures: bool = True
    reason: str | None = None  # why it measures nothing, as text
    pids: tuple[int, ...] = ()  # of processes that measure for it

    def read(self) -> list[Reading]:
        """The readings since the last call, without waiting. Raises PowerError when the source is gone."""

    def close(self) -> None:
        """Ends what the source started."""


class NoPower(PowerSource):
    """The null source, used when no source answered. reason: why, as text."""

    name, scope, default_filter_s, measures = "none", "", 0.0, False
    kind: Kind = "power"
    sensors: Mapping[str, Sensor] = {}
    total_rails: tuple[str, ...] = ()

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def read(self) -> list[Reading]:
        return []

    def close(self) -> None:
        pass


def describe(source: PowerSource) -> dict[str, Any]:
    """The source with its sensors for a result, or null and the reason."""
    if not source.measures:
        return {"source": None, "reason": source.reason}
    return {
        "source": source.name,
        "reason": None,
        "kind": source.kind,
        "scope": source.scope,
        "total_rails": list(source.total_rails),
        "sensors": {rail: asdict(sensor) for rail, sensor in source.sensors.items()},
    }


def module_total(rails: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """The rails in a Jetson's total and a description of it; empty for rails without a row in the table."""
    found = total_of(dict.fromkeys(rails, 0.0))
    if found is None:
        return (), "no total: it is not known for this board which of these rails include others"
    total = found[1]
    return total.rails, f"the module's input ({total.modules}); carrier, fan and disk lie outside"
