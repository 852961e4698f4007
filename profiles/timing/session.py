"""Windows of every contender in turn, between two stretches of idling, with power sampled all along."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..power.energy import PowerWindow, measure, meter_of
from ..power.sampler import Sampler
from ..power.source import PERIOD_S, PowerSource, describe
from .contenders import PLAIN, Contender, Record, run_for
from .store import Store

SHORTEST_IDLE_S = 10.0
LEADS = 5  # time constants until a filter has settled to a 150th
LATEST_GAPS = 2  # longest gaps between readings, that one behind the end of a window is waited for
Report = Callable[[str, float], None]  # what is done now, and for how many seconds


@dataclass(frozen=True)
class Schedule:
    """How long everything lasts, in seconds. passes: of a window, instead of its length.

    lead_s: every window begins that long after its contender has begun to run, so that clocks and the sensor's filter have
    settled. needed_s: the shortest window that the sensor can measure. least_passes: of a window, however long they take.
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
    """(round, place of the contender) of what is not in the store, A B C, B C A, ..."""
    done = {(line["round"], line["contender"]) for line in store.of("window") if line["mode"] == mode}
    order = []
    for number in range(rounds):
        for place in range(len(contenders)):
            turned = (place + number) % len(contenders)
            if (number, contenders[turned].name) not in done:
                order.append((number, turned))
    return order


def run_session(
    store: Store,
    contenders: Sequence[Contender],
    source: PowerSource,
    schedule: Schedule,
    *,
    mode: int | None,
    order: Sequence[tuple[int, int]],
    conditions: Mapping[str, Any] | None = None,
    report: Report,
    watch: Callable[[], None] = lambda: None,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Measures the windows of `order` and adds each to the store as it ends.

    conditions: of the machine, stored with the session. watch: looks at it after each window.

    Ctrl-C ends it with what was measured so far stored, and goes on to the caller.
    """
    number = len(store.of("session"))
    began = time.perf_counter()
    store.add(
        "session",
        {
            "session": number,
            "mode": mode,
            "power": describe(source),
            "schedule": asdict(schedule),
            "date": _now(),
            "conditions": conditions,
        },
    )
    with Sampler(source) as sampler:
        try:
            for contender in {contenders[place].name: contenders[place] for _, place in order}.values():
                report(f"warm-up: {contender.name}", schedule.warmup_s)
                run_for(contender, schedule.warmup_s)
            _idle(store, sampler, schedule, number, "before", began, report, pause)
            load_s = time.perf_counter()
            for place, (turn, index) in enumerate(order):
                contender = contenders[index]
                report(f"round {turn + 1}: {contender.name}", schedule.lead_s + schedule.window_s)
                lead = run_for(contender, schedule.lead_s)
                if place == 0:
                    _rise(store, sampler, number, load_s)
                where = {"session": number, "mode": mode, "round": turn, "lead_passes": len(lead.begin_s)}
                _measure_window(store, sampler, schedule, contender, where, began)
                watch()
            _idle(store, sampler, schedule, number, "after", began, report, pause)
        finally:
            _add_trace(store, sampler, number, began)


def _idle(
    store: Store, sampler: Sampler, schedule: Schedule, session: int, when: str, began: float, report: Report,
    pause: Callable[[float], None],
) -> None:  # fmt: skip
    if not schedule.idle_s:
        return
    report(f"idle {when}", schedule.idle_s)
    pause(schedule.lead_s)  # the filter still holds what ran before
    begin_s = time.perf_counter()
    pause(schedule.idle_s)
    end_s = time.perf_counter()
    power = _power(sampler, schedule, begin_s, end_s, lambda: pause(PERIOD_S / 5))
    content = {"session": session, "when": when, "begin_s": begin_s - began, "power": asdict(power)}
    store.add("idle", content)


def _power(
    sampler: Sampler, schedule: Schedule, begin_s: float, end_s: float, go_on: Callable[[], object]
) -> PowerWindow:
    """Mean power of a window that has just ended.

    go_on: keeps things as they were, for some ms, until there is a reading from behind the window's end.
    """
    source = sampler.source
    while source.measures and time.perf_counter() < end_s + LATEST_GAPS * source.longest_gap_s:
        if sampler.readings and sampler.readings[-1].time_s >= end_s:
            break
        go_on()
    return measure(sampler, meter_of(source, sampler), begin_s, end_s, needed_s=schedule.needed_s)


def _rise(store: Store, sampler: Sampler, session: int, load_s: float) -> None:
    """How long the sensor took to show the first load: its filter as it is, stored with the run."""
    if not sampler.source.total_rails:
        return
    meter = meter_of(sampler.source, sampler)
    trace = sampler.trace(sampler.source.total_rails)
    rise_s = trace.rise_s(load_s, time.perf_counter(), meter.steps_mw["total"])
    store.add("rise", {"session": session, "rise_s": rise_s})


def _measure_window(
    store: Store, sampler: Sampler, schedule: Schedule, contender: Contender, where: dict[str, Any], began: float
) -> None:
    record = run_for(contender, schedule.window_s, schedule.passes, schedule.least_passes)
    begin_s, end_s = record.begin_s[0], time.perf_counter()
    power = _power(sampler, schedule, begin_s, end_s, lambda: contender.run_pass(Record()))
    arrays = record.arrays()
    passes = len(record.begin_s)
    survivors = int(arrays["survivors"].sum())
    images = passes * contender.batch
    counts = {"plain": images} if contender.name == PLAIN else {"exit": images - survivors, "full": survivors}
    store.add(
        "window",
        {
            **where,
            "contender": contender.name,
            "threshold": contender.threshold,
            "passes": passes,
            "images": images,
            "counts": counts,
            "begin_s": begin_s - began,
            "duration_s": end_s - begin_s,
            "power": asdict(power),
        },
        {name: values.astype("f8" if name == "begin_s" else "f4") for name, values in arrays.items()},
    )


def _add_trace(store: Store, sampler: Sampler, session: int, began: float) -> None:
    """Every reading as power, for the time line; and what went wrong with the source."""
    rails = {rail: sampler.trace((rail,)).as_power() for rail in sampler.source.sensors}
    if sampler.source.total_rails:
        rails["total"] = sampler.trace(sampler.source.total_rails).as_power()
    arrays = {}
    for place, trace in enumerate(rails.values()):
        arrays[f"{place}_s"] = trace.times_s - began
        arrays[f"{place}_mw"] = trace.values
    content = {"session": session, "rails": list(rails), "readings": len(sampler.readings), "faults": sampler.faults}
    store.add("trace", content, arrays)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
