"""Reads a power source at regular times, in parallel to the measured work, and integrates the readings."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import numpy.typing as npt

from .source import PERIOD_S, Clock, Kind, PowerError, PowerSource, Reading

Numbers = npt.NDArray[np.float64]


class Sampler:
    """Reads a source every `PERIOD_S` in its own thread, within a `with` block.

    faults: errors, one line each; they do not end the measured run. A reading that is not later than the one
    before it is left out. most: the number of readings to keep, the newest ones; None keeps all. on_reading: takes
    each new reading, in the sampler's thread.
    """

    def __init__(
        self,
        source: PowerSource,
        clock: Clock = time.perf_counter,
        *,
        most: int | None = None,
        on_reading: Callable[[Reading], None] = lambda reading: None,
    ) -> None:
        self.source, self._clock, self._most, self._on_reading = source, clock, most, on_reading
        self.readings: list[Reading] = []
        self._needed_from_s = -math.inf
        self.faults: list[str] = []
        self._began = clock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="power", daemon=True)

    def __enter__(self) -> Sampler:
        if self.source.measures:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(due - time.monotonic(), 0.0)):
            self.take()
            due = max(due + PERIOD_S, time.monotonic())

    def take(self) -> None:
        """Adds the source's new readings."""
        try:
            readings = self.source.read()
        except PowerError as fault:
            self._note(str(fault))
            return
        for reading in readings:
            self.add(reading)

    def add(self, reading: Reading) -> None:
        """Adds a reading, and drops those that are not needed any more."""
        if self.readings and reading.time_s <= self.readings[-1].time_s:
            self._note("the clock went backwards")
            return
        self.readings.append(reading)
        self._on_reading(reading)
        if len(reading.rails) < len(self.source.sensors):
            self._note(f"gone: {', '.join(sorted(set(self.source.sensors) - set(reading.rails)))}")
        while len(self.readings) > 1 and self.readings[1].time_s <= self._needed_from_s:
            del self.readings[0]
        if self._most is not None and len(self.readings) > self._most:
            del self.readings[: self._most // 10]  # in larger pieces: each one moves the rest

    def forget(self, before_s: float) -> None:
        """Readings before this time are not needed, except the last one of them. The next new reading drops them."""
        self._needed_from_s = before_s

    def _note(self, fault: str) -> None:
        if not any(known.endswith(fault) for known in self.faults):
            self.faults.append(f"{self._clock() - self._began:.1f} s: {fault}")

    def trace(self, rails: Sequence[str]) -> Trace:
        """The sum of these rails at every reading that has them all."""
        needed = set(rails)
        taken = [(one.time_s, one.rails) for one in list(self.readings) if one.rails.keys() >= needed]
        times = np.array([time_s for time_s, _ in taken])
        values = np.zeros(len(taken))
        for rail in rails:
            values += np.array([values_of[rail] for _, values_of in taken])
        return Trace(times, values, self.source.kind)


@dataclass(frozen=True)
class Trace:
    """Values over time: (n,) seconds, rising, and (n,) mW or mJ."""

    times_s: Numbers
    values: Numbers
    kind: Kind

    def between(self, begin_s: float, end_s: float) -> Trace:
        inside = (self.times_s >= begin_s) & (self.times_s <= end_s)
        return Trace(self.times_s[inside], self.values[inside], self.kind)

    def missing(self, begin_s: float, end_s: float, longest_gap_s: float) -> float:
        """The share of a window, in [0, 1], that lies in gaps of more than `longest_gap_s` between readings."""
        inside = self.between(begin_s, end_s).times_s
        gaps = np.diff(np.concatenate(([begin_s], inside, [end_s])))
        return float(gaps[gaps > longest_gap_s].sum() / (end_s - begin_s)) if end_s > begin_s else 1.0

    def energy_mj(self, begin_s: float, end_s: float) -> float:
        """Between two times: the trapezoid of power, or the counter's difference; both interpolated at the ends.

        NaN where the readings do not reach from one end to the other.
        """
        times, values = self.times_s, self.values
        if not len(times) or times[0] > begin_s or times[-1] < end_s:
            return float("nan")
        first, last = np.interp([begin_s, end_s], times, values)
        if self.kind == "energy":
            return float(last - first)
        inside = (times > begin_s) & (times < end_s)
        at = np.concatenate(([begin_s], times[inside], [end_s]))
        power = np.concatenate(([first], values[inside], [last]))
        return float(np.sum((power[1:] + power[:-1]) / 2 * np.diff(at)))

    def power_mw(self, begin_s: float, end_s: float) -> float:
        """Mean power between two times; NaN as in `energy_mj`."""
        return self.energy_mj(begin_s, end_s) / (end_s - begin_s) if end_s > begin_s else float("nan")

    def as_power(self) -> Trace:
        """A counter's slope between readings; power as it is."""
        if self.kind == "power" or len(self.times_s) < 2:
            return Trace(self.times_s, self.values if self.kind == "power" else np.zeros(len(self.times_s)), "power")
        middle = (self.times_s[1:] + self.times_s[:-1]) / 2
        return Trace(middle, np.diff(self.values) / np.diff(self.times_s), "power")

    def rise_s(self, step_s: float, until_s: float, step_mw: float | None) -> float | None:
        """Time from a step of the load to 63 % of the rise of power; None for a rise of less than 10 sensor steps."""
        power = self.as_power()
        before, after = power.between(step_s - (until_s - step_s), step_s), power.between(step_s, until_s)
        if len(before.values) < 5 or len(after.values) < 5:
            return None
        low, high = float(np.median(before.values)), float(np.median(after.values[-5:]))
        if high - low < max(10 * (step_mw or 0.0), 0.05 * abs(low)):
            return None
        above = after.times_s[after.values >= low + 0.632 * (high - low)]
        return float(above[0] - step_s) if len(above) else None
