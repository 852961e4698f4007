"""Power by rail: what every source gives, what is known of the sensor behind it, and which source answers here.

Facts about sensors and their sources: docs/profiling.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from ...bundle.errors import DeviceError
from .rails import total_of

PERIOD_S = 0.1  # between readings: the filter in an INA3221 and NVML's counter both change no faster
MAX_FILE_BYTES = 4096  # sysfs gives a page
Kind = Literal["power", "energy"]  # mW at an instant, or mJ since some start
Clock = Callable[[], float]


class PowerError(DeviceError):
    """A source that does not answer, or no longer."""


@dataclass(frozen=True)
class Sensor:
    """What is known of a rail's sensor; None where it does not tell.

    step_mw: the smallest difference that it shows. filter_s: time constant of its own smoothing. source: of these two.
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
    """A source that has given a reading. total_rails: what makes up `scope`; empty where no total is known."""

    name: str
    sensors: Mapping[str, Sensor]
    total_rails: tuple[str, ...]

    @property
    def pids(self) -> tuple[int, ...]:
        """Processes that measure for it."""

    @property
    def kind(self) -> Kind: ...

    @property
    def scope(self) -> str:
        """What the total holds, for people."""

    @property
    def default_filter_s(self) -> float:
        """For a sensor that does not tell its own."""

    def read(self) -> list[Reading]:
        """What is new since the last call, at once. Raises PowerError when the source is gone."""

    def close(self) -> None:
        """Ends what the source started."""


class NoPower:
    """No source answered. reason: why, for people."""

    name, kind, scope = "none", "power", ""
    sensors: Mapping[str, Sensor] = {}
    total_rails: tuple[str, ...] = ()
    default_filter_s = 0.0
    pids: tuple[int, ...] = ()

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def read(self) -> list[Reading]:
        return []

    def close(self) -> None:
        pass


def describe(source: PowerSource | NoPower) -> dict[str, Any]:
    """For a result: the source with its sensors, or null and the reason."""
    if isinstance(source, NoPower):
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
    """The rails that a Jetson's total is made of and what it holds; empty for rails that no row of the table knows."""
    found = total_of(dict.fromkeys(rails, 0.0))
    if found is None:
        return (), "no total: which of these rails hold the others is not known for this board"
    total = found[1]
    return total.rails, f"the module's input ({total.modules}); carrier, fan and disk lie outside"


def read_text(path: Path) -> str | None:
    """A small file of the kernel's without its line end; None where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES).decode("utf-8", "replace").strip("\0\n ")
    except OSError:
        return None


def read_number(path: Path) -> int | None:
    """A whole number in a file; None for anything else."""
    text = read_text(path)
    return int(text) if text is not None and re.fullmatch(r"-?\d{1,18}", text) else None
