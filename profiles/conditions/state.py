"""The machine's state, which is stored with every number.

Values that a machine does not report are None or empty, never an error. Facts and their sources: docs/profiling.md.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...bundle.files import sha256_of
from ...machine.jetson import (
    NVPMODEL_TABLE,
    PowerMode,
    available_memory_mib,
    board_model,
    jetpack_generation,
    l4t_release,
    used_swap_mib,
)
from ...machine.processor import load_1min, processor_name, usable_cores
from ...machine.small_files import ROOT, listed, read_text
from ..power.nvml import load_nvml
from .clocks import ClockState, read_cpu_clocks, read_gpu_clocks, read_memory_clock
from .gpu import NvmlState, or_none, read_nvml_state
from .heat import read_cooling, read_over_current, read_temperatures
from .power_modes import read_power_mode

QUERY_LIMIT_S = 5.0  # for `nvpmodel -q`
MEASURING = ("tegrastats", "jtop")


@dataclass(frozen=True)
class MachineState:
    """The machine's state at one time.

    power_mode_source: the file or command that it was read from. nvpmodel_table: the first 12 hex digits of its SHA-256.
    """

    board: str | None = None
    l4t: str | None = None
    jetpack: str | None = None
    kernel: str | None = None
    processor: str | None = None
    cores: int | None = None  # that are online and that this process may use
    power_mode: PowerMode | None = None
    power_mode_source: str | None = None
    nvpmodel_table: str | None = None
    cpu_clocks: tuple[ClockState, ...] = ()
    gpu_clocks: tuple[ClockState, ...] = ()
    memory_clock: ClockState | None = None
    temperatures_c: dict[str, float] = field(default_factory=dict)
    cooling: dict[str, int] = field(default_factory=dict)  # above 0: throttling
    over_current: dict[str, int] = field(default_factory=dict)  # events since the machine started
    used_swap_mib: int | None = None
    available_memory_mib: int | None = None
    load_1min: float | None = None
    measuring: tuple[str, ...] = ()  # other programs that read the sensors
    nvml: NvmlState | None = None

    @property
    def clocks(self) -> tuple[ClockState, ...]:
        memory = (self.memory_clock,) if self.memory_clock else ()
        return (*self.cpu_clocks, *self.gpu_clocks, *memory)

    @property
    def is_jetson(self) -> bool:
        return self.l4t is not None or "Jetson" in (self.board or "")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def read_state(
    root: Path = ROOT,
    nvpmodel: str | Path = "nvpmodel",
    own_pids: Collection[int] = (),
    find_nvml: Callable[[], Any] = load_nvml,
) -> MachineState:
    """Reads the machine's state within milliseconds. own_pids: processes that measure for us."""
    release = l4t_release(root)
    mode, source = read_power_mode(root, nvpmodel, QUERY_LIMIT_S)
    return MachineState(
        board=board_model(root),
        l4t=release,
        jetpack=release and jetpack_generation(release),
        kernel=read_text(root / "proc/sys/kernel/osrelease") or None,
        processor=processor_name(root),
        cores=usable_cores(root),
        power_mode=mode,
        power_mode_source=source,
        nvpmodel_table=or_none(lambda: sha256_of(root / NVPMODEL_TABLE)[:12]),
        cpu_clocks=read_cpu_clocks(root),
        gpu_clocks=read_gpu_clocks(root),
        memory_clock=read_memory_clock(root),
        temperatures_c=read_temperatures(root),
        cooling=read_cooling(root),
        over_current=read_over_current(root),
        used_swap_mib=used_swap_mib(root),
        available_memory_mib=available_memory_mib(root),
        load_1min=load_1min(root),
        measuring=_find_measuring(root, own_pids),
        nvml=read_nvml_state(or_none(find_nvml)),
    )


def _find_measuring(root: Path, own_pids: Collection[int]) -> tuple[str, ...]:
    names = {
        folder.name: read_text(folder / "comm")
        for folder in listed(root / "proc", "[0-9]*")
        if folder.name.isdecimal() and folder.name not in {str(pid) for pid in own_pids}
    }
    return tuple(f"{name} (process {pid})" for pid, name in names.items() if name in MEASURING)
