"""The machine's state, to stand beside every number.

What a machine does not tell is None or empty, and never an error. Facts and their sources: docs/profiling.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ...bundle.files import sha256_of
from ...machine.jetson import (
    NVPMODEL_TABLE,
    ROOT,
    PowerMode,
    available_memory_mib,
    board_model,
    jetpack_generation,
    l4t_release,
    used_swap_mib,
)
from ..power.nvml import load_nvml, open_device
from ..power.source import read_number, read_text
from .power_modes import read_power_mode

QUERY_LIMIT_S = 5.0  # for `nvpmodel -q`
GPU_NAMES = ("gpu", "ga10b", "gv11b", "gp10b", "gm20b")  # of devfreq devices, from Thor and Orin down to Nano
COOLING = ("throttle-alert", "cpufreq", *GPU_NAMES)  # devices that slow something down; the others are fans and alerts
EMC = "sys/kernel/debug/bpmp/debug/clk/emc"  # root only
MEASURING = ("tegrastats", "jtop")
CONSTANT_ZONES = ("PMIC-Die",)  # 100 C to JetPack 4.4, 50 C after it, whatever the temperature
COLDEST_C = -200.0  # -256: the zone's part has no power
REASONS = {  # docs.nvidia.com, nvmlClocksEventReasons
    0x1: "idle",
    0x2: "application clocks",
    0x4: "SW power cap",
    0x8: "HW slowdown",
    0x10: "sync boost",
    0x20: "SW thermal slowdown",
    0x40: "HW thermal slowdown",
    0x80: "HW power brake",
    0x100: "display clocks",
}
T = TypeVar("T")


@dataclass(frozen=True)
class ClockState:
    """A clock in MHz and the limits that it may move in; pinned: it cannot move."""

    name: str
    governor: str | None
    min_mhz: float | None
    now_mhz: float | None
    max_mhz: float | None
    pinned: bool | None


@dataclass(frozen=True)
class NvmlState:
    """What NVML tells of the GPU that CUDA calls its first. unavailable: why there is nothing."""

    gpu: str | None = None
    driver: str | None = None
    sm_mhz: int | None = None
    sm_max_mhz: int | None = None
    memory_mhz: int | None = None
    memory_max_mhz: int | None = None
    temperature_c: int | None = None
    power_limit_mw: int | None = None
    reasons: tuple[str, ...] | None = None
    unavailable: str | None = None


@dataclass(frozen=True)
class MachineState:
    """One look at the machine. power_mode_source: the file or command that told it; nvpmodel_table: 12 hex of SHA-256."""

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
    cooling: dict[str, int] = field(default_factory=dict)  # above 0: slowing something down
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
    """A look at the machine, in some milliseconds. own_pids: processes that measure for us."""
    release = l4t_release(root)
    mode, source = read_power_mode(root, nvpmodel, QUERY_LIMIT_S)
    return MachineState(
        board=board_model(root),
        l4t=release,
        jetpack=release and jetpack_generation(release),
        kernel=read_text(root / "proc/sys/kernel/osrelease") or None,
        processor=_read_processor(root),
        cores=_read_cores(root),
        power_mode=mode,
        power_mode_source=source,
        nvpmodel_table=_or_none(lambda: sha256_of(root / NVPMODEL_TABLE)[:12]),
        cpu_clocks=tuple(
            _read_clock(f"CPU {folder.name}", folder, "scaling_", 1e3)
            for folder in _listed(root / "sys/devices/system/cpu/cpufreq", "policy*")
        ),
        gpu_clocks=tuple(
            _read_clock(f"GPU {folder.name}", folder, "", 1e6)
            for folder in _listed(root / "sys/class/devfreq", "*")
            if any(name in folder.name for name in GPU_NAMES)
        ),
        memory_clock=_read_memory_clock(root),
        temperatures_c=_read_temperatures(root),
        cooling=_read_cooling(root),
        over_current=_read_over_current(root),
        used_swap_mib=used_swap_mib(root),
        available_memory_mib=available_memory_mib(root),
        load_1min=_read_load(root),
        measuring=_find_measuring(root, own_pids),
        nvml=read_nvml_state(_or_none(find_nvml)),
    )


def read_nvml_state(nvml: Any) -> NvmlState | None:
    """What NVML tells, field by field: on Orin it starts, names the GPU and knows nothing else. nvml: `pynvml`, or None.

    NVML is started and ended here: its state does not survive a fork.
    """
    if nvml is None:
        return None
    try:
        nvml.nvmlInit()
    except Exception as reason:  # whatever a library of another release raises: a look at the machine ends no run
        return NvmlState(unavailable=f"NVML does not start: {reason}")
    try:
        return _read_nvml_device(nvml, open_device(nvml))
    except Exception as reason:
        return NvmlState(unavailable=str(reason))
    finally:
        with suppress(Exception):
            nvml.nvmlShutdown()


def _read_nvml_device(nvml: Any, device: Any) -> NvmlState:
    def ask(function: str, *arguments: str) -> Any:
        """What a function gives; None where the library lacks it or the GPU does not support it."""
        return _or_none(lambda: getattr(nvml, function)(device, *(getattr(nvml, name) for name in arguments)))

    reasons = ask("nvmlDeviceGetCurrentClocksEventReasons")
    if reasons is None:
        reasons = ask("nvmlDeviceGetCurrentClocksThrottleReasons")  # its name before R535
    temperature = ask("nvmlDeviceGetTemperatureV", "NVML_TEMPERATURE_GPU")
    if temperature is None:
        temperature = ask("nvmlDeviceGetTemperature", "NVML_TEMPERATURE_GPU")  # its name before CUDA 13
    return NvmlState(
        gpu=_as_text(ask("nvmlDeviceGetName")),
        driver=_as_text(_or_none(nvml.nvmlSystemGetDriverVersion)),
        sm_mhz=_as_number(ask("nvmlDeviceGetClockInfo", "NVML_CLOCK_SM")),
        sm_max_mhz=_as_number(ask("nvmlDeviceGetMaxClockInfo", "NVML_CLOCK_SM")),
        memory_mhz=_as_number(ask("nvmlDeviceGetClockInfo", "NVML_CLOCK_MEM")),
        memory_max_mhz=_as_number(ask("nvmlDeviceGetMaxClockInfo", "NVML_CLOCK_MEM")),
        temperature_c=_as_number(temperature),
        power_limit_mw=_as_number(ask("nvmlDeviceGetEnforcedPowerLimit")),
        reasons=None if reasons is None else name_reasons(int(reasons)),
    )


def name_reasons(mask: int) -> tuple[str, ...]:
    """Why a GPU's clocks are what they are, by NVML's bits; an unknown bit is its number."""
    bits = [1 << place for place in range(64) if mask >> place & 1]
    return tuple(REASONS.get(bit, hex(bit)) for bit in bits)


def _read_processor(root: Path) -> str | None:
    found = re.search(r"^(?:model name|Model)\s*:[ \t]*(\S.*)$", read_text(root / "proc/cpuinfo") or "", re.MULTILINE)
    return found[1].strip() if found else None


def _read_cores(root: Path) -> int | None:
    online = _cores_in(read_text(root / "sys/devices/system/cpu/online") or "")
    status = re.search(r"^Cpus_allowed_list:\s*(\S+)$", read_text(root / "proc/self/status") or "", re.MULTILINE)
    allowed = _cores_in(status[1]) if status else set()
    return len(online & allowed if online and allowed else online | allowed) or None


def _cores_in(text: str) -> set[int]:
    """{0, 1, 2, 5} of "0-2,5"; empty for anything else."""
    spans = [re.fullmatch(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", part) for part in text.split(",")]
    return {core for span in spans if span for core in range(int(span[1]), int(span[2] or span[1]) + 1)}


def _read_load(root: Path) -> float | None:
    found = re.match(r"[0-9]{1,6}\.[0-9]{1,6}", read_text(root / "proc/loadavg") or "")
    return float(found[0]) if found else None


def _read_clock(name: str, folder: Path, prefix: str, in_mhz: float) -> ClockState:
    low, now, high = (_read_mhz(folder / f"{prefix}{which}_freq", in_mhz) for which in ("min", "cur", "max"))
    pinned = None if low is None or high is None else low == high
    return ClockState(name, read_text(folder / f"{prefix}governor") or None, low, now, high, pinned)


def _read_mhz(path: Path, in_mhz: float) -> float | None:
    value = read_number(path)
    return None if value is None else value / in_mhz


def _read_memory_clock(root: Path) -> ClockState | None:
    """Of devfreq on JetPack 7, else of the boot processor: there min and max are the hardware's, and a lock pins."""
    devfreq = _read_clock("EMC", root / "sys/class/devfreq/bwmgr", "", 1e6)
    if devfreq.now_mhz is not None:
        return devfreq
    low, now, high = (_read_mhz(root / EMC / name, 1e6) for name in ("min_rate", "rate", "max_rate"))
    locked = read_number(root / EMC / "mrq_rate_locked")
    return None if now is None else ClockState("EMC", None, low, now, high, None if locked is None else locked == 1)


def _read_temperatures(root: Path) -> dict[str, float]:
    """Degrees by zone. A zone whose part has no power gives an error or -256 C, and is left out."""
    found: dict[str, float] = {}
    for folder in _listed(root / "sys/class/thermal", "thermal_zone*"):
        zone, value = read_text(folder / "type"), read_number(folder / "temp")
        if zone and zone not in CONSTANT_ZONES and value is not None and value / 1e3 > COLDEST_C:
            found[f"{zone} ({folder.name})" if zone in found else zone] = value / 1e3
    return found


def _read_cooling(root: Path) -> dict[str, int]:
    """The step of every device that slows something down; the highest of those with one name."""
    found: dict[str, int] = {}
    for folder in _listed(root / "sys/class/thermal", "cooling_device*"):
        kind, step = read_text(folder / "type"), read_number(folder / "cur_state")
        if kind and step is not None and "fan" not in kind and any(name in kind for name in COOLING):
            found[kind] = max(step, found.get(kind, step))
    return found


def _read_over_current(root: Path) -> dict[str, int]:
    counts = {
        path.name.removesuffix("_event_cnt"): read_number(path)
        for folder in _listed(root / "sys/class/hwmon", "hwmon*")
        if read_text(folder / "name") == "soctherm_oc"
        for path in _listed(folder, "oc*_event_cnt")
    }
    return {name: count for name, count in counts.items() if count is not None}


def _find_measuring(root: Path, own_pids: Collection[int]) -> tuple[str, ...]:
    names = {
        folder.name: read_text(folder / "comm")
        for folder in _listed(root / "proc", "[0-9]*")
        if folder.name.isdecimal() and folder.name not in {str(pid) for pid in own_pids}
    }
    return tuple(f"{name} (process {pid})" for pid, name in names.items() if name in MEASURING)


def _listed(folder: Path, pattern: str) -> list[Path]:
    """By number: hwmon2 before hwmon10."""
    try:
        return sorted(folder.glob(pattern), key=lambda path: (len(path.name), path.name))
    except OSError:
        return []


def _or_none(call: Callable[[], T]) -> T | None:
    try:
        return call()
    except Exception:
        return None


def _as_number(value: Any) -> int | None:
    return None if value is None else _or_none(lambda: int(value))


def _as_text(value: Any) -> str | None:
    if value is None:
        return None
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
