"""Which power source answers here."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from ...machine.jetson import ROOT
from .source import Clock, NoPower, PowerError, PowerSource

Wanted = Literal["auto", "ina", "tegrastats", "nvml", "rapl", "none"]


def open_power(
    wanted: Wanted = "auto",
    *,
    on_gpu: bool,
    root: Path = ROOT,
    tegrastats: str = "tegrastats",
    clock: Clock = time.perf_counter,
) -> PowerSource | NoPower:
    """The first source that gives a reading; with "auto" `NoPower` and every reason when none does.

    on_gpu: whether the engines run on a GPU: on a PC, NVML measures it and RAPL the processor. Raises PowerError when the
    source that was asked for by name does not answer.
    """
    from .ina import InaPower
    from .nvml import NvmlPower
    from .rapl import RaplPower
    from .tegrastats import TegrastatsPower

    if wanted == "none":
        return NoPower("--power none")
    openers: dict[str, Callable[[], PowerSource]] = {
        "ina": lambda: InaPower(root, clock),
        "tegrastats": lambda: TegrastatsPower(tegrastats, clock),
        "nvml": lambda: NvmlPower(clock),
        "rapl": lambda: RaplPower(root, clock),
    }
    if wanted != "auto":
        return openers[wanted]()
    order = ("ina", "tegrastats", "nvml", "rapl") if on_gpu else ("ina", "tegrastats", "rapl")
    reasons = []
    for name in order:
        try:
            return openers[name]()
        except PowerError as reason:
            reasons.append(f"{name}: {reason}")
    return NoPower("; ".join(reasons))
