"""Energy from power: the least length of a window, the energy in one, and its uncertainty.

An amount has a half-width. It is the sum of a bound on what the sensor cannot resolve, and of the 95 % interval of the
differences between windows. Sources: docs/profiling.md.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .rails import step_mw
from .sampler import Numbers, Sampler, Trace
from .source import PERIOD_S, PowerSource

SHORTEST_S, CONSTANTS, SAMPLES = 10.0, 10, 50  # of a window: seconds, filter time constants, readings
SHORTEST_COUNTED_S = 1.0  # of a counter, where only the update period matters
MOST_MISSING = 0.05  # share of a window without readings
TOTAL = "total"
# 97.5 % quantiles of Student's t for 1 to 30 degrees of freedom; beyond, the normal's is 4 % too small at most
STUDENT = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


@dataclass(frozen=True)
class Amount:
    """A value and half the width of its interval, in the same unit; None where the width is unknown."""

    value: float
    plus_minus: float | None

    def to_dict(self) -> dict[str, float | None]:
        width = None if self.plus_minus is None else float(f"{self.plus_minus:.3g}")
        return {"value": float(f"{self.value:.6g}"), "plus_minus": width}


@dataclass(frozen=True)
class PowerWindow:
    """Mean power over an interval of time, by rail and `TOTAL`: mW, and the bound of what the sensor cannot resolve.

    A bound is None for a sensor with unknown steps. A rail without readings is left out. reason: why there is no power,
    or no total; then the tables are empty.
    """

    duration_s: float
    mean_mw: Mapping[str, float]
    bound_mw: Mapping[str, float | None]
    reason: str | None = None


@dataclass(frozen=True)
class Meter:
    """What is known of each rail's sensor from its readings. TOTAL is the sum of its rails."""

    rails: Mapping[str, tuple[str, ...]]  # by name: the rails in the sum
    steps_mw: Mapping[str, float | None]
    filter_s: float

    def needed_s(self, counts_energy: bool) -> float:
        """The shortest window that this sensor can measure."""
        if counts_energy:
            return max(SHORTEST_COUNTED_S, SAMPLES * self.filter_s)
        return max(SHORTEST_S, CONSTANTS * self.filter_s, SAMPLES * PERIOD_S)


def meter_of(source: PowerSource, sampler: Sampler | None = None) -> Meter:
    """The rails and their sensors. An undocumented step is estimated by the median of the differences between readings, if
    any."""
    rails: dict[str, tuple[str, ...]] = {rail: (rail,) for rail in source.sensors}
    steps: dict[str, float | None] = {}
    for rail, sensor in source.sensors.items():
        step = sensor.step_mw if sensor.step_mw is not None else step_mw(rail)
        if step is None:
            step = None if sampler is None else _typical_step(sampler.trace((rail,)).values)
        if source.kind == "energy":
            step = 0.0  # a counter's steps are far smaller than the energy of a window
        steps[rail] = step
    if source.total_rails:
        rails[TOTAL] = source.total_rails
        parts = [steps[rail] for rail in source.total_rails]
        steps[TOTAL] = None if None in parts else sum(part for part in parts if part is not None)
    told = [sensor.filter_s for sensor in source.sensors.values() if sensor.filter_s is not None]
    return Meter(rails, steps, max(told, default=source.default_filter_s))


def measure(sampler: Sampler, meter: Meter, begin_s: float, end_s: float, *, needed_s: float) -> PowerWindow:
    """Mean power between two times of the sampler's clock, or the reason why there is none."""
    duration_s = end_s - begin_s
    if not sampler.source.measures:
        return PowerWindow(duration_s, {}, {}, sampler.source.reason)
    if duration_s < needed_s * (1 - 1e-3):
        reason = f"a window of {duration_s:.3g} s; {sampler.source.name} needs {needed_s:.3g} s"
        return PowerWindow(duration_s, {}, {}, reason)
    means: dict[str, float] = {}
    bounds: dict[str, float | None] = {}
    reasons = []
    for name, rails in meter.rails.items():
        trace = sampler.trace(rails)
        missing = trace.missing(begin_s, end_s, sampler.source.longest_gap_s)
        mean = trace.power_mw(begin_s, end_s)
        if missing > MOST_MISSING or math.isnan(mean):
            faults = f" ({sampler.faults[-1]})" if sampler.faults else ""
            reasons.append(f"no readings of {name} for {missing:.0%} of the window{faults}")
            continue
        means[name] = mean
        bounds[name] = sensor_bound_mw(trace, begin_s, end_s, meter.steps_mw[name], meter.filter_s)
    if not means or (TOTAL in meter.rails and TOTAL not in means):
        return PowerWindow(duration_s, {}, {}, reasons[0])
    return PowerWindow(duration_s, means, bounds)


def sensor_bound_mw(trace: Trace, begin_s: float, end_s: float, step_mw: float | None, filter_s: float) -> float | None:
    """The bound on the error of a window's mean power, for a sensor with this step and smoothing; None for an unknown step.

    On a constant signal steps do not average out, so half a step counts. A first-order filter moves filter_s * (change of its
    output) of energy over the window's ends. A counter is at most one update late.
    """
    if trace.kind == "energy":
        return abs(trace.power_mw(begin_s, end_s)) * filter_s / (end_s - begin_s)
    if step_mw is None:
        return None
    edge_s = min(max(5 * PERIOD_S, filter_s), (end_s - begin_s) / 4)
    first, last = trace.between(begin_s, begin_s + edge_s).values, trace.between(end_s - edge_s, end_s).values
    change = abs(float(np.mean(last)) - float(np.mean(first))) if len(first) and len(last) else 0.0
    return step_mw / 2 + filter_s * change / (end_s - begin_s)


@dataclass(frozen=True)
class Idle:
    """Power with the engines loaded and nothing to do, by rail: mW."""

    mean_mw: Mapping[str, float]
    bound_mw: Mapping[str, float | None]


@dataclass(frozen=True)
class Spent:
    """One window of a variant: its power, the number of images answered, and the idle power of its session."""

    power: PowerWindow
    images: int
    idle: Idle | None = None


def idle_of(windows: Sequence[PowerWindow]) -> Idle | None:
    """Idle power over a session's windows before and after; half of their difference adds to the bound. None without any."""
    good = [window for window in windows if window.reason is None]
    if not good:
        return None
    means: dict[str, float] = {}
    bounds: dict[str, float | None] = {}
    for rail in good[0].mean_mw:
        if any(rail not in window.mean_mw for window in good):
            continue
        values = [window.mean_mw[rail] for window in good]
        known = [bound for window in good if (bound := window.bound_mw[rail]) is not None]
        means[rail] = statistics.fmean(values)
        bounds[rail] = max(known) + (max(values) - min(values)) / 2 if len(known) == len(good) else None
    return Idle(means, bounds)


def gross_mj(windows: Sequence[Spent], rail: str) -> Amount | None:
    """Energy per image, idle power included; None when a window has none."""
    return _per_image(windows, rail, above_idle=False)


def dynamic_mj(windows: Sequence[Spent], rail: str) -> Amount | None:
    """Energy per image above what idling would have drawn in the same time; None where it was not measured in every session."""
    return _per_image(windows, rail, above_idle=True)


def _per_image(windows: Sequence[Spent], rail: str, *, above_idle: bool) -> Amount | None:
    images = sum(window.images for window in windows)
    if not images or any(window.power.reason is not None or rail not in window.power.mean_mw for window in windows):
        return None
    if above_idle and any(window.idle is None or rail not in window.idle.mean_mw for window in windows):
        return None
    energy, bounds = [], []
    for window in windows:
        idle_mw, idle_bound = 0.0, 0.0 if not above_idle else None
        if above_idle and window.idle is not None:
            idle_mw, idle_bound = window.idle.mean_mw[rail], window.idle.bound_mw[rail]
        bound = window.power.bound_mw[rail]
        energy.append((window.power.mean_mw[rail] - idle_mw) * window.power.duration_s)
        bounds.append(None if bound is None or idle_bound is None else (bound + idle_bound) * window.power.duration_s)
    known = [bound for bound in bounds if bound is not None]
    between = spread([mj / window.images for mj, window in zip(energy, windows, strict=True)])
    width = sum(known) / images + between if len(known) == len(bounds) and between is not None else None
    return Amount(sum(energy) / images, width)


def spread(values: Sequence[float]) -> float | None:
    """Half the 95 % interval of the mean; None for a single value, whose spread is unknown."""
    if len(values) < 2:
        return None
    return student(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))


def student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t."""
    return STUDENT[freedom - 1] if freedom <= len(STUDENT) else 1.96


def _typical_step(values: Numbers) -> float | None:
    """None for readings that never changed, since they do not show a step."""
    differences = np.abs(np.diff(values))
    moved = differences[differences > 0]
    return float(np.median(moved)) if len(moved) else None
