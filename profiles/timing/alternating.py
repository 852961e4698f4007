"""Timing for comparisons: every task runs in every round, so that disturbances affect all tasks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping


def time_alternating(
    tasks: Mapping[str, Callable[[], object]], rounds: int, warmup_rounds: int = 1
) -> dict[str, list[float]]:
    """Wall milliseconds of each task in each round, A B C, B C A, C A B, ...; warm-up rounds run but do not count.

    The order rotates, because a task's time depends on what the one before it left in the caches. A task must be done when it
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
