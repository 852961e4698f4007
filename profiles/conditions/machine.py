"""Timing that compares: every contender in every round, so that a noisy machine is noisy for all of them."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def time_alternating(
    tasks: Mapping[str, Callable[[], object]], rounds: int, warmup_rounds: int = 1
) -> dict[str, list[float]]:
    """Wall milliseconds of each task in each round, A B C, B C A, C A B, ...; warm-up rounds run but do not count.

    The order turns because a task pays for what the one before it left in the caches. A task must be done when it
    returns. Compare the tasks by the ratios inside a round: see `round_ratios`.
    """
    times: dict[str, list[float]] = {name: [] for name in tasks}
    names = list(tasks)
    for number in range(-warmup_rounds, rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            began = time.perf_counter()
            tasks[name]()
            if number >= 0:
                times[name].append(1e3 * (time.perf_counter() - began))
    return times


def round_ratios(times: Mapping[str, list[float]], slow: str, fast: str) -> list[float]:
    """How many times faster `fast` was than `slow`, round by round."""
    return [a / b for a, b in zip(times[slow], times[fast], strict=True)]


def describe_machine() -> dict[str, Any]:
    """What stands beside every number: processor, cores this process may use, load, clock governor where there is one."""
    cpuinfo, governor = Path("/proc/cpuinfo"), Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    model = platform.processor() or platform.machine()
    if cpuinfo.is_file():
        named = [line for line in cpuinfo.read_text().splitlines() if line.startswith(("model name", "Model"))]
        model = named[0].partition(":")[2].strip() if named else model
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 2),
        "governor": governor.read_text().strip() if governor.is_file() else None,
    }
