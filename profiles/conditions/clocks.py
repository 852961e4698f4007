"""Clocks of processor, GPU and memory, with the limits that they may move in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...machine.small_files import listed, read_number, read_text

GPU_NAMES = ("gpu", "ga10b", "gv11b", "gp10b", "gm20b")  # of devfreq devices, from Thor and Orin down to Nano
EMC = "sys/kernel/debug/bpmp/debug/clk/emc"  # root only


@dataclass(frozen=True)
class ClockState:
    """A clock in MHz with its limits. pinned: it cannot change."""

    name: str
    governor: str | None
    min_mhz: float | None
    now_mhz: float | None
    max_mhz: float | None
    pinned: bool | None


def read_cpu_clocks(root: Path) -> tuple[ClockState, ...]:
    """One clock per frequency policy: cores that share a policy have the same clock."""
    return tuple(
        _read_clock(f"CPU {folder.name}", folder, "scaling_", 1e3)
        for folder in listed(root / "sys/devices/system/cpu/cpufreq", "policy*")
    )


def read_gpu_clocks(root: Path) -> tuple[ClockState, ...]:
    """The GPU clock of a Jetson; those of a desktop GPU are in `NvmlState`."""
    return tuple(
        _read_clock(f"GPU {folder.name}", folder, "", 1e6)
        for folder in listed(root / "sys/class/devfreq", "*")
        if any(name in folder.name for name in GPU_NAMES)
    )


def _read_clock(name: str, folder: Path, prefix: str, in_mhz: float) -> ClockState:
    low, now, high = (_read_mhz(folder / f"{prefix}{which}_freq", in_mhz) for which in ("min", "cur", "max"))
    pinned = None if low is None or high is None else low == high
    return ClockState(name, read_text(folder / f"{prefix}governor") or None, low, now, high, pinned)


def _read_mhz(path: Path, in_mhz: float) -> float | None:
    value = read_number(path)
    return None if value is None else value / in_mhz


def read_memory_clock(root: Path) -> ClockState | None:
    """The memory clock: from devfreq on JetPack 7, else from the boot processor, whose min and max are the hardware's."""
    devfreq = _read_clock("EMC", root / "sys/class/devfreq/bwmgr", "", 1e6)
    if devfreq.now_mhz is not None:
        return devfreq
    low, now, high = (_read_mhz(root / EMC / name, 1e6) for name in ("min_rate", "rate", "max_rate"))
    locked = read_number(root / EMC / "mrq_rate_locked")
    return None if now is None else ClockState("EMC", None, low, now, high, None if locked is None else locked == 1)
