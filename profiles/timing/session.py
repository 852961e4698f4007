"""Measures windows of all variants by turns, between two idle windows, while power and load are recorded.

A window that other programs disturbed is measured again. If that does not help, the least disturbed attempt is kept and marked
with the disturbance.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ...machine.activity import Activity, read_activity, read_running
from ..power.energy import PowerWindow, measure, meter_of
from ..power.sampler import Sampler
from ..power.source import PERIOD_S, PowerSource, describe
from .contenders import PLAIN, Contender, Record, run_for
from .load_watch import Load, LoadWatch
from .schedule import Schedule
from .store import Store

LATEST_GAPS = 2  # longest gaps between readings: the wait for one after the end of a window
MOST_REPEATS = 2  # of a disturbed window; of all windows together, half as many as there are windows
Report = Callable[[str, float], None]  # the current step, and its duration in seconds


@dataclass(frozen=True)
class Surroundings:
    """The surroundings of a session. conditions: of the machine, stored with the session.

    report: called with the current step. watch: reads the machine's state after each window.
    """

    source: PowerSource
    report: Report
    conditions: Mapping[str, Any] | None = None
    watch: Callable[[], None] = lambda: None
    pause: Callable[[float], None] = time.sleep
    read_load: Callable[[], Activity | None] | None = None  # for tests: of another machine


@dataclass(frozen=True)
class Attempt:
    """One measurement of a window. load: None on a system that does not count it."""

    record: Record
    begin_s: float
    end_s: float
    power: PowerWindow
    load: Load | None

    @property
    def disturbances(self) -> list[str]:
        return self.load.disturbances if self.load is not None else []

    @property
    def severity(self) -> float:
        return self.load.severity if self.load is not None else 0.0


class Session:
    """One session: the windows of `order`, (round, place of the variant), in one power mode."""

    def __init__(self, store: Store, schedule: Schedule, around: Surroundings, mode: int | None) -> None:
        self._store, self._schedule, self._around, self._mode = store, schedule, around, mode
        self._number = len(store.of("session"))
        self._sampler = Sampler(around.source)
        here = partial(read_activity, threading.get_native_id(), around.source.pids)
        self._load = LoadWatch(around.read_load or here, read_running)
        self._repeats_left = 0
        self._began = time.perf_counter()

    def run(self, contenders: Sequence[Contender], order: Sequence[tuple[int, int]]) -> None:
        """Measures the windows and adds each to the store as it ends.

        After Ctrl-C, what was measured is stored, and the exception is passed on.
        """
        around, schedule = self._around, self._schedule
        self._began, self._repeats_left = time.perf_counter(), -(-len(order) // 2)
        self._add(
            "session",
            {
                "mode": self._mode,
                "power": describe(around.source),
                "schedule": asdict(schedule),
                "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "conditions": around.conditions,
            },
        )
        with self._sampler, self._load:
            try:
                for contender in {contenders[place].name: contenders[place] for _, place in order}.values():
                    around.report(f"warm-up: {contender.name}", schedule.warmup_s)
                    run_for(contender, schedule.warmup_s)
                self._idle("before")
                load_s = time.perf_counter()
                for place, (turn, index) in enumerate(order):
                    contender = contenders[index]
                    around.report(f"round {turn + 1}: {contender.name}", schedule.lead_s + schedule.window_s)
                    lead = run_for(contender, schedule.lead_s)
                    if place == 0:
                        self._rise(load_s)
                    self._window(contender, turn, len(lead.begin_s))
                    around.watch()
                self._idle("after")
            finally:
                self._trace()

    def _add(self, kind: str, content: Mapping[str, Any], arrays: dict[str, npt.NDArray[Any]] | None = None) -> None:
        self._store.add(kind, {"session": self._number, **content}, arrays)

    def _idle(self, when: str) -> None:
        if not self._schedule.idle_s:
            return
        self._around.report(f"idle {when}", self._schedule.idle_s)
        pause = self._around.pause
        pause(self._schedule.lead_s)  # until the filter has forgotten earlier work
        first, begin_s = self._load.take(), time.perf_counter()
        pause(self._schedule.idle_s)
        end_s, last = time.perf_counter(), self._load.take()
        power = self._power(begin_s, end_s, lambda: pause(PERIOD_S / 5))
        load = self._load.between(first, last)
        content = {"when": when, "begin_s": begin_s - self._began, "power": asdict(power), **_loaded(load)}
        self._add("idle", content)

    def _power(self, begin_s: float, end_s: float, go_on: Callable[[], object]) -> PowerWindow:
        """Mean power of a window that has just ended.

        go_on: continues the load for some ms, until there is a reading after the window's end.
        """
        sampler, source = self._sampler, self._around.source
        while source.measures and time.perf_counter() < end_s + LATEST_GAPS * source.longest_gap_s:
            if sampler.readings and sampler.readings[-1].time_s >= end_s:
                break
            go_on()
        return measure(sampler, meter_of(source, sampler), begin_s, end_s, needed_s=self._schedule.needed_s)

    def _rise(self, load_s: float) -> None:
        """Stores the time that the sensor took to show the first load: its real filter."""
        source = self._around.source
        if not source.total_rails:
            return
        meter = meter_of(source, self._sampler)
        trace = self._sampler.trace(source.total_rails)
        rise_s = trace.rise_s(load_s, time.perf_counter(), meter.steps_mw["total"])
        self._add("rise", {"rise_s": rise_s})

    def _window(self, contender: Contender, turn: int, lead_passes: int) -> None:
        attempts = [self._attempt(contender)]
        while attempts[-1].disturbances and len(attempts) <= MOST_REPEATS and self._repeats_left:
            self._repeats_left -= 1
            why = attempts[-1].disturbances[0]
            self._around.report(f"round {turn + 1}: {contender.name} again: {why}", self._schedule.window_s)
            attempts.append(self._attempt(contender))
        kept = min(attempts, key=lambda one: (bool(one.disturbances), one.severity))
        arrays = kept.record.arrays()
        passes, survivors = len(kept.record.begin_s), int(arrays["survivors"].sum())
        images = passes * contender.batch
        counts = {"plain": images} if contender.name == PLAIN else {"exit": images - survivors, "full": survivors}
        self._add(
            "window",
            {
                "mode": self._mode,
                "round": turn,
                "lead_passes": lead_passes,
                "contender": contender.name,
                "threshold": contender.threshold,
                "passes": passes,
                "images": images,
                "counts": counts,
                "begin_s": kept.begin_s - self._began,
                "duration_s": kept.end_s - kept.begin_s,
                "power": asdict(kept.power),
                "attempts": len(attempts),
                **_loaded(kept.load),
            },
            {name: values.astype("f8" if name == "begin_s" else "f4") for name, values in arrays.items()},
        )

    def _attempt(self, contender: Contender) -> Attempt:
        schedule, first = self._schedule, self._load.take()
        record = run_for(contender, schedule.window_s, schedule.passes, schedule.least_passes)
        begin_s, end_s = record.begin_s[0], time.perf_counter()
        last = self._load.take()
        power = self._power(begin_s, end_s, lambda: contender.run_pass(Record()))
        return Attempt(record, begin_s, end_s, power, self._load.between(first, last))

    def _trace(self) -> None:
        """Stores every reading as power, for the time line, and the source's errors."""
        sampler, source = self._sampler, self._around.source
        rails = {rail: sampler.trace((rail,)).as_power() for rail in source.sensors}
        if source.total_rails:
            rails["total"] = sampler.trace(source.total_rails).as_power()
        arrays: dict[str, npt.NDArray[np.float64]] = {}
        for place, trace in enumerate(rails.values()):
            arrays[f"{place}_s"] = trace.times_s - self._began
            arrays[f"{place}_mw"] = trace.values
        content = {"rails": list(rails), "readings": len(sampler.readings), "faults": sampler.faults}
        self._add("trace", content, arrays)


def _loaded(load: Load | None) -> dict[str, Any]:
    """The load for a line of the store, and the parts of it that disturbed the measurement."""
    if load is None:
        return {"load": None, "disturbances": []}
    rounded = {
        name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in asdict(load).items()
    }
    return {"load": rounded, "disturbances": load.disturbances}
