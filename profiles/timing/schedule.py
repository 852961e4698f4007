"""The duration of a session, and its windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..power.energy import meter_of
from ..power.source import PowerSource
from .contenders import Contender
from .store import Store

SHORTEST_IDLE_S = 10.0
LEADS = 5  # time constants after which a filter has settled to 1/150


@dataclass(frozen=True)
class Schedule:
    """All durations in seconds. passes: of a window, in place of its length.

    lead_s: a window begins this long after its variant started to run, so that clocks and the sensor's filter have settled.
    needed_s: the shortest window that the sensor can measure. least_passes: of a window, however long they take.
    """

    window_s: float
    passes: int | None
    rounds: int
    warmup_s: float
    lead_s: float
    idle_s: float
    needed_s: float
    least_passes: int = 1

    def total_s(self, windows: int) -> float:
        return self.warmup_s + 2 * (self.idle_s and self.idle_s + self.lead_s) + windows * (self.window_s + self.lead_s)


def plan_schedule(
    source: PowerSource, duration_s: float, iterations: int | None, warmup_ms: float, rounds: int
) -> Schedule:
    """`duration_s` or `iterations` for each contender, in `rounds` windows."""
    meter = meter_of(source)
    needed_s = meter.needed_s(source.kind == "energy")
    window_s = duration_s / rounds
    can_measure = source.measures and (iterations is not None or window_s >= needed_s * (1 - 1e-3))
    return Schedule(
        window_s=window_s,
        passes=None if iterations is None else -(-iterations // rounds),
        rounds=rounds,
        warmup_s=warmup_ms / 1e3,
        lead_s=max(warmup_ms / 1e3, LEADS * meter.filter_s) if can_measure else warmup_ms / 1e3,
        idle_s=max(SHORTEST_IDLE_S, needed_s) if can_measure else 0.0,
        needed_s=needed_s,
    )


def missing_windows(
    store: Store, contenders: Sequence[Contender], mode: int | None, rounds: int
) -> list[tuple[int, int]]:
    """(round, place of the variant) of the windows that the store lacks: A B C, B C A, ..."""
    done = {(line["round"], line["contender"]) for line in store.of("window") if line["mode"] == mode}
    order = []
    for number in range(rounds):
        for place in range(len(contenders)):
            turned = (place + number) % len(contenders)
            if (number, contenders[turned].name) not in done:
                order.append((number, turned))
    return order


def foreword(source: PowerSource, schedule: Schedule, windows: int, contenders: Sequence[Contender]) -> list[str]:
    """Lines before the measurement: its steps, its duration, and whether energy is measured."""
    names = ", ".join(contender.name for contender in contenders)
    length = f"{schedule.window_s:g} s" if schedule.passes is None else f"{schedule.passes} passes"
    idle = f", idle 2 x {schedule.idle_s:g} s" if schedule.idle_s else ""
    lines = [f"{windows} windows of {length}{idle}: {names}"]
    if schedule.passes is None:
        lines[0] += f"; about {max(1, round(schedule.total_s(windows)))} s"
    if not source.measures:
        lines.append(f"no power is measured: {source.reason}")
    elif schedule.passes is None and schedule.window_s < schedule.needed_s * (1 - 1e-3):
        lines.append(
            f"no energy: {source.name} needs windows of {schedule.needed_s:g} s, these have {schedule.window_s:g} s."
            f" Give --duration-s {math.ceil(schedule.needed_s * schedule.rounds)} or more"
        )
    else:
        lines.append(f"power: {source.name}; total: {source.scope}")
    return lines
