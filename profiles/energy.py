"""Energy from power: how long a window must be, what lies in one, and how sure that is.

An amount is given with a half-width that holds, as a bound and not as a standard deviation, what the sensor cannot tell, and
95 % of what differs between windows. Sources: docs/profiling.md.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .power import PERIOD_S, NoPower, PowerSource
from .rails import STEPS_MW
from .sampler import Numbers, Sampler, Trace

SHORTEST_S, CONSTANTS, SAMPLES = 10.0, 10, 50  # of a window: seconds, filter time constants, readings
SHORTEST_COUNTED_S = 1.0  # a counter has no steps to average over: only its updates count
MOST_MISSING = 0.05  # share of a window without readings
TOTAL = "total"
# 97.5 % quantiles of Student's t for 1 to 30 degrees of freedom; beyond, the normal's is 4 % too small at most
STUDENT = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


@dataclass(frozen=True)
class Amount:
    """A value and half the width of its interval, in one unit."""

    value: float
    plus_minus: float

    def to_dict(self) -> dict[str, float]:
        return {"value": float(f"{self.value:.6g}"), "plus_minus": float(f"{self.plus_minus:.3g}")}


@dataclass(frozen=True)
class PowerWindow:
    """Mean power of a stretch of time, by rail and `TOTAL`: mW, and the bound of what the sensor cannot tell of it.

    reason: why there is no power; then the tables are empty.
    """

    duration_s: float
    mean_mw: Mapping[str, float]
    bound_mw: Mapping[str, float]
    reason: str | None = None


@dataclass(frozen=True)
class Meter:
    """What is known of each rail's sensor when readings are there; TOTAL stands for the sum of its rails."""

    rails: Mapping[str, tuple[str, ...]]  # each name and the rails that it is the sum of
    steps_mw: Mapping[str, float]
    filter_s: float

    def needed_s(self, counts_energy: bool) -> float:
        """The shortest window that this sensor can measure."""
        if counts_energy:
            return max(SHORTEST_COUNTED_S, SAMPLES * self.filter_s)
        return max(SHORTEST_S, CONSTANTS * self.filter_s, SAMPLES * PERIOD_S)


def meter_of(source: PowerSource | NoPower, sampler: Sampler | None = None) -> Meter:
    """The rails and their sensors. A step that nobody tells is the median of the differences between readings."""
    rails: dict[str, tuple[str, ...]] = {rail: (rail,) for rail in source.sensors}
    steps = {}
    for rail, sensor in source.sensors.items():
        step = sensor.step_mw if sensor.step_mw is not None else STEPS_MW.get(rail)
        if step is None:
            step = 0.0 if sampler is None or source.kind == "energy" else _typical_step(sampler.trace((rail,)).values)
        steps[rail] = step
    if source.total_rails:
        rails[TOTAL] = source.total_rails
        steps[TOTAL] = sum(steps[rail] for rail in source.total_rails)
    told = [sensor.filter_s for sensor in source.sensors.values() if sensor.filter_s is not None]
    return Meter(rails, steps, max(told, default=source.default_filter_s))


def measure(sampler: Sampler, meter: Meter, begin_s: float, end_s: float, *, needed_s: float) -> PowerWindow:
    """Mean power between two times of the sampler's clock, or the reason why there is none."""
    duration_s = end_s - begin_s
    if isinstance(sampler.source, NoPower):
        return PowerWindow(duration_s, {}, {}, sampler.source.reason)
    if duration_s < needed_s * (1 - 1e-3):
        reason = f"a window of {duration_s:.3g} s; {sampler.source.name} needs {needed_s:.3g} s"
        return PowerWindow(duration_s, {}, {}, reason)
    means, bounds = {}, {}
    for name, rails in meter.rails.items():
        trace = sampler.trace(rails)
        missing = trace.missing(begin_s, end_s)
        mean = trace.power_mw(begin_s, end_s)
        if missing > MOST_MISSING or math.isnan(mean):
            faults = f" ({sampler.faults[-1]})" if sampler.faults else ""
            return PowerWindow(duration_s, {}, {}, f"no readings of {name} for {missing:.0%} of the window{faults}")
        means[name] = mean
        bounds[name] = sensor_bound_mw(trace, begin_s, end_s, meter.steps_mw[name], meter.filter_s)
    return PowerWindow(duration_s, means, bounds)


def sensor_bound_mw(trace: Trace, begin_s: float, end_s: float, step_mw: float, filter_s: float) -> float:
    """How far the mean power of a window may be off, for a sensor with this step and smoothing.

    On a flat signal steps do not average out: half of one. A first-order filter moves filter_s * (change of its output) of
    energy over the window's ends. A counter is late by one update at most.
    """
    if trace.kind == "energy":
        return abs(trace.power_mw(begin_s, end_s)) * filter_s / (end_s - begin_s)
    edge_s = min(max(5 * PERIOD_S, filter_s), (end_s - begin_s) / 4)
    first, last = trace.between(begin_s, begin_s + edge_s).values, trace.between(end_s - edge_s, end_s).values
    change = abs(float(np.mean(last)) - float(np.mean(first))) if len(first) and len(last) else 0.0
    return step_mw / 2 + filter_s * change / (end_s - begin_s)


@dataclass(frozen=True)
class Spent:
    """One window of a contender: what was drawn, while how many images were answered."""

    power: PowerWindow
    images: int


@dataclass(frozen=True)
class Idle:
    """Power with the engines loaded and nothing to do, by rail: mW."""

    mean_mw: Mapping[str, float]
    bound_mw: Mapping[str, float]


def idle_of(windows: Sequence[PowerWindow]) -> Idle | None:
    """Idle power over the windows before and after; half of their difference adds to the bound. None without any."""
    good = [window for window in windows if window.reason is None]
    if not good:
        return None
    means, bounds = {}, {}
    for rail in good[0].mean_mw:
        values = [window.mean_mw[rail] for window in good]
        means[rail] = statistics.fmean(values)
        bounds[rail] = max(window.bound_mw[rail] for window in good) + (max(values) - min(values)) / 2
    return Idle(means, bounds)


def gross_mj(windows: Sequence[Spent], rail: str) -> Amount | None:
    """Energy an image, idle power included; None when a window has none."""
    return _per_image(windows, rail, 0.0, 0.0)


def dynamic_mj(windows: Sequence[Spent], rail: str, idle: Idle | None) -> Amount | None:
    """Energy an image above what idling would have drawn meanwhile."""
    return None if idle is None else _per_image(windows, rail, idle.mean_mw[rail], idle.bound_mw[rail])


def _per_image(windows: Sequence[Spent], rail: str, idle_mw: float, idle_bound_mw: float) -> Amount | None:
    images = sum(window.images for window in windows)
    if not images or any(window.power.reason is not None for window in windows):
        return None
    energy = [(window.power.mean_mw[rail] - idle_mw) * window.power.duration_s for window in windows]
    bound = sum((window.power.bound_mw[rail] + idle_bound_mw) * window.power.duration_s for window in windows) / images
    each = [mj / window.images for mj, window in zip(energy, windows, strict=True) if window.images]
    return Amount(sum(energy) / images, bound + spread(each))


def spread(values: Sequence[float]) -> float:
    """Half the 95 % interval of the mean; 0 for one value, of which nothing is known."""
    if len(values) < 2:
        return 0.0
    return student(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))


def student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t."""
    return STUDENT[freedom - 1] if freedom <= len(STUDENT) else 1.96


def _typical_step(values: Numbers) -> float:
    differences = np.abs(np.diff(values))
    moved = differences[differences > 0]
    return float(np.median(moved)) if len(moved) else 0.0
