"""The table of power sources, and the choice of the one to use."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...machine.small_files import ROOT
from .ina import InaPower
from .nvml import NvmlPower
from .rapl import RaplPower
from .source import Clock, NoPower, PowerError, PowerSource
from .tegrastats import TegrastatsPower

AUTO, NONE = "auto", "none"  # values of --power beside the names of the rows


@dataclass(frozen=True)
class Place:
    """The surroundings of a source: the root of the file system, the command to run, the clock of its readings."""

    root: Path = ROOT
    tegrastats: str = "tegrastats"
    clock: Clock = time.perf_counter


@dataclass(frozen=True)
class Row:
    """A power source. name: of --power. on_gpu, on_cpu: whether `auto` tries it for engines that run there.

    open: raises PowerError unless the source has given a reading.
    """

    name: str
    open: Callable[[Place], PowerSource]
    on_gpu: bool
    on_cpu: bool
    help: str


ROWS = (  # `auto` tries them in this order
    Row("ina", lambda at: InaPower(at.root, at.clock), on_gpu=True, on_cpu=True, help="a Jetson's INA3221, in sysfs"),
    Row("tegrastats", lambda at: TegrastatsPower(at.tegrastats, at.clock), on_gpu=True, on_cpu=True, help="its tool"),
    # On a PC, NVML measures the GPU and RAPL the processor: neither measures engines on the other one.
    Row("nvml", lambda at: NvmlPower(at.clock), on_gpu=True, on_cpu=False, help="an NVIDIA GPU of a PC"),
    Row("rapl", lambda at: RaplPower(at.root, at.clock), on_gpu=True, on_cpu=True, help="an x86 processor"),
)


def choices() -> tuple[str, ...]:
    """The values of --power."""
    return (AUTO, *(row.name for row in ROWS), NONE)


def choices_help() -> str:
    """The help for each value of --power."""
    names = "; ".join(f"{row.name}: {row.help}" for row in ROWS)
    return f"{AUTO}: the first source that gives a reading; {names}; {NONE}: no power"


def open_power(wanted: str, *, on_gpu: bool, at: Place | None = None, rows: Sequence[Row] = ROWS) -> PowerSource:
    """The source of that name; with "auto" the first that gives a reading, or `NoPower` with every reason.

    on_gpu: whether the engines run on a GPU. Raises PowerError when a source that was asked for by name does not answer.
    """
    if wanted == NONE:
        return NoPower(f"--power {NONE}")
    at, reasons = at or Place(), []
    for row in rows:
        if wanted not in (AUTO, row.name) or (wanted == AUTO and not (row.on_gpu if on_gpu else row.on_cpu)):
            continue
        try:
            return row.open(at)
        except PowerError as reason:
            if wanted != AUTO:
                raise PowerError(
                    f"--power {wanted}: {reason}. --power {AUTO} takes the first source that answers"
                ) from None
            reasons.append(f"{row.name}: {reason}")
    return NoPower("; ".join(reasons))
