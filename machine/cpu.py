"""How ONNX Runtime is set up on a CPU, for the runtime and for every check alike."""

from __future__ import annotations

import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def saturates_int8(cpuinfo: Path = CPUINFO, machine: str | None = None) -> bool:
    """Whether fast INT8 kernels add two products in 16 bits here, where they saturate silently: on x86 without VNNI."""
    is_x86 = (machine or platform.machine()).lower() in ("x86_64", "amd64")
    return is_x86 and not {"avx512_vnni", "avx_vnni"} & processor_flags(cpuinfo)


def cpu_settings(cpuinfo: Path = CPUINFO, machine: str | None = None) -> dict[str, str]:
    """Session config entries for this processor.

    Where INT8 saturates the slower exact kernel is chosen. With VNNI the entry would cost a third of INT8's speed and change
    nothing (DeiT-S on an EPYC: EE 8.4 instead of 6.1 ms).
    """
    # Two sessions have two thread pools. By default the idle one spins for a while after its pass and takes the cores
    # from the other: EE of DeiT-S took 48 ms instead of 20 on two cores.
    settings = {"session.force_spinning_stop": "1"}
    if saturates_int8(cpuinfo, machine):
        settings["session.x64quantprecision"] = "1"
    return settings


def processor_flags(cpuinfo: Path = CPUINFO) -> set[str]:
    """The processor's feature flags as Linux names them; empty where it does not say."""
    try:
        lines = cpuinfo.read_text("utf-8", "replace").splitlines()
    except OSError:
        return set()
    return next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())
