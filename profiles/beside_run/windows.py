"""Joins the answers of a run with the readings of a power source, in windows that the sensor can measure.

A sensor smooths over tenths of a second and a frame takes milliseconds, so the energy of one frame cannot be measured. A
window lasts as long as `sacvit-profile` demands of this sensor, 10 s for an INA3221. It begins and ends with an answer.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..power.energy import TOTAL, Amount, PowerWindow, Spent, gross_mj, measure, meter_of
from ..power.energy_by_path import Paths, Row, fit_gross
from ..power.sampler import Sampler, Trace
from ..results.result import SHARED

KEPT_WINDOWS = 10_000  # a day of windows of 10 s
LATEST_GAPS = 2  # longest gaps between readings: the wait for one after the end of a window
MOST_STRETCHED = 1.5  # times the needed length: a longer window holds a pause of the frames
PEAK_S = 1.0  # a counter's power over less depends on when it is read


@dataclass(frozen=True)
class Window:
    """One window, the number of frames answered in it by path, and its power. cut: the frames that may lie across its ends."""

    begin_s: float
    end_s: float
    counts: Mapping[str, int]
    power: PowerWindow
    cut: int

    @property
    def frames(self) -> int:
        return sum(self.counts.values())

    @property
    def spent(self) -> PowerWindow:
        """Its power with a bound that includes the frames across its ends."""
        share = self.cut / self.frames
        bounds = {
            rail: None if bound is None else bound + share * abs(self.power.mean_mw[rail])
            for rail, bound in self.power.bound_mw.items()
        }
        return PowerWindow(self.power.duration_s, self.power.mean_mw, bounds)

    def to_dict(self) -> dict[str, Any] | None:
        """For a line of --json; None where its power was not measured."""
        if self.power.reason is not None:
            return None
        energy = None
        if TOTAL in self.power.mean_mw:
            bound, frame_s = self.spent.bound_mw[TOTAL], self.power.duration_s / self.frames
            amount = Amount(self.power.mean_mw[TOTAL] * frame_s, None if bound is None else bound * frame_s)
            energy = amount.to_dict()
        return {
            "ended_s": round(self.end_s, 3),
            "window_s": round(self.power.duration_s, 3),
            "frames": self.frames,
            "exits": self.counts.get("exit", 0),
            "w": {rail: round(value / 1e3, 4) for rail, value in self.power.mean_mw.items()},
            "plus_minus_w": {
                rail: None if bound is None else round(bound / 1e3, 4) for rail, bound in self.power.bound_mw.items()
            },
            "mj_per_frame": energy,
        }


class Windows:
    """The windows of a run. sampler: with times of the clock that the answers have.

    most_cut: the number of frames that may lie across the ends of a window; 0 where passes of one frame follow each other.
    needed_s: the shortest window, for a source whose readings are further apart than those of a `Sampler`.
    """

    def __init__(self, sampler: Sampler, most_cut: int = 0, needed_s: float = 0.0) -> None:
        self.sampler, self._most_cut = sampler, most_cut
        source = sampler.source
        self.needed_s = max(needed_s, meter_of(source).needed_s(source.kind == "energy"))
        self.survivors_share = False  # see SHARED
        self.kept: deque[Window] = deque(maxlen=KEPT_WINDOWS)
        self.latest: dict[str, Any] | None = None  # for the lines of --json
        self.began_s: float | None = None  # the first window
        self._last_s = 0.0  # the newest answer
        self._begin_s = 0.0  # of the open window
        self._counts: Counter[str] = Counter()
        self._waiting: deque[tuple[float, float, Counter[str]]] = deque()  # ended, and not measured yet
        self._sums: dict[str, list[float]] = {}  # by rail: mJ, mJ of the bound, seconds, highest mW

    def add(self, answered_s: float, path: str) -> None:
        """An answer. The first one behind a reading only begins a window, since its work lies before it."""
        self._last_s = answered_s
        if self.began_s is None:
            readings = self.sampler.readings
            if readings and readings[0].time_s <= answered_s:
                self.began_s = self._begin_s = answered_s
            return
        self._counts[path] += 1
        if self._waiting:
            self._settle(answered_s)
        if answered_s - self._begin_s >= self.needed_s:
            self._waiting.append((self._begin_s, answered_s, self._counts))
            self._begin_s, self._counts = answered_s, Counter()

    def close(self) -> None:
        """Measures what is left. The rest behind the last window counts for the mean power only."""
        self._settle(math.inf)
        readings = self.sampler.readings
        end_s = min(self._last_s, readings[-1].time_s) if readings else -math.inf
        if self.began_s is not None and end_s > self._begin_s:
            self._account(self._begin_s, end_s, needed_s=0.0)

    def _settle(self, now_s: float) -> None:
        """Measures the windows for which there is a reading after their end, or for which none comes."""
        sampler = self.sampler
        while self._waiting:
            begin_s, end_s, counts = self._waiting[0]
            has_come = bool(sampler.readings) and sampler.readings[-1].time_s >= end_s
            if not has_come and now_s < end_s + LATEST_GAPS * sampler.source.longest_gap_s:
                return
            self._waiting.popleft()
            power = self._account(begin_s, end_s, needed_s=self.needed_s)
            last_s = sampler.readings[-1].time_s if sampler.readings else -math.inf
            if power.reason is not None and begin_s < last_s < end_s:
                self._account(begin_s, last_s, needed_s=0.0)  # until the source stopped, for the mean power
            window = Window(begin_s, end_s, counts, power, self._most_cut)
            self.kept.append(window)
            self.latest = window.to_dict()
            sampler.forget(end_s)

    def _account(self, begin_s: float, end_s: float, *, needed_s: float) -> PowerWindow:
        meter = meter_of(self.sampler.source, self.sampler)
        power = measure(self.sampler, meter, begin_s, end_s, needed_s=needed_s)
        for rail, mean in power.mean_mw.items():
            sums = self._sums.setdefault(rail, [0.0, 0.0, 0.0, -math.inf])
            bound = power.bound_mw[rail]
            sums[0] += mean * power.duration_s
            sums[1] += math.nan if bound is None else bound * power.duration_s
            sums[2] += power.duration_s
            sums[3] = max(sums[3], mean, highest_mw(self.sampler.trace(meter.rails[rail]).between(begin_s, end_s)))
        return power

    def means_w(self) -> dict[str, dict[str, float | None]]:
        """Mean power by rail over all that was measured, half the width of its interval, and the highest reading: W."""
        found: dict[str, dict[str, float | None]] = {}
        for rail, (energy, bound, duration_s, highest) in self._sums.items():
            half = None if math.isnan(bound) else round(bound / duration_s / 1e3, 4)
            mean = round(energy / duration_s / 1e3, 4)
            found[rail] = {"mean": mean, "plus_minus": half, "max": round(highest / 1e3, 4)}
        return found

    @property
    def measured_s(self) -> float:
        return max((sums[2] for sums in self._sums.values()), default=0.0)

    @property
    def measured(self) -> list[Window]:
        return [window for window in self.kept if window.power.reason is None]

    def per_frame_mj(self) -> dict[str, Amount]:
        """Energy of a frame by rail, idle power included, over the windows."""
        windows = [Spent(window.spent, window.frames) for window in self.measured]
        rails = dict.fromkeys(rail for window in windows for rail in window.power.mean_mw)
        found = {rail: gross_mj(windows, rail) for rail in rails}
        return {rail: amount for rail, amount in found.items() if amount is not None}

    def by_path(self) -> Paths:
        """Energy of a frame on each path, idle power included; windows with a pause of the frames are left out."""
        if self.survivors_share:
            return Paths({}, None, 0.0, len(self.measured), SHARED)
        rows = [
            Row(window.power.mean_mw[TOTAL], window.spent.bound_mw[TOTAL], window.power.duration_s, window.counts)
            for window in self.measured
            if TOTAL in window.power.mean_mw and window.power.duration_s <= MOST_STRETCHED * self.needed_s
        ]
        return fit_gross(rows)


def highest_mw(trace: Trace) -> float:
    """The highest reading; of a counter the highest power over PEAK_S. Minus infinity without any."""
    if trace.kind == "energy" and len(trace.times_s) > 1:
        grid = np.arange(trace.times_s[0], trace.times_s[-1], PEAK_S)
        values = np.diff(np.interp(grid, trace.times_s, trace.values)) / PEAK_S
    else:
        values = trace.values if trace.kind == "power" else np.empty(0)
    return float(values.max(initial=-math.inf))
