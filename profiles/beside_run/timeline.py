"""Power, frames and temperature of a run over one time axis."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ...bundle.figure_style import SERIES
from ..reports.drawable import LARGEST, shortened
from ..reports.svg import BOTH, render_panels
from .recorded import Recorded

if TYPE_CHECKING:
    from array import array

    from matplotlib.axes import Axes

MOST_BINS, LEAST_FRAMES = 240, 20  # pieces of the time axis, and frames in one on average
MOST_CURVES = 6
LONGEST_GAP = 5  # median intervals; a curve is interrupted in a longer gap
UNITS = ((2.0, 3600.0, "h"), (10.0, 60.0, "min"))  # from so many of them on
LINE_WIDTHS = {"-": 1.6, ":": 1.2}
FLOATING = ("°C",)  # what does not begin at 0
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """y over seconds from the first answer; low, high: the range around it. colour: a place in SERIES."""

    name: str
    x: Numbers
    y: Numbers
    style: str = "-"
    colour: int | None = None
    low: Numbers | None = None
    high: Numbers | None = None


def draw_timeline(run: Recorded, sizes: Sequence[str] = BOTH) -> str:
    """The figure, as SVG."""
    begin_s, end_s = run.frames.answered_s[0], run.frames.answered_s[-1]
    edges = edges_of(len(run.frames.ms), end_s - begin_s)
    panels = [
        ("W", series_curves(run.power_w, begin_s, end_s), 2.6),
        ("ms per frame", latency_curves(run, edges), 2.4),
        ("frames per second", rate_curves(run, edges), 2.2),
        ("°C", series_curves(run.zones_c, begin_s, end_s), 2.2),
    ]
    panels = [panel for panel in panels if panel[1]]
    per_unit, unit = next(((size, name) for most, size, name in UNITS if end_s - begin_s >= most * size), (1.0, "s"))
    drawn = [
        (_draw(curves, name, per_unit, f"time ({unit})" if name == panels[-1][0] else ""), height)
        for name, curves, height in panels
    ]
    return render_panels("Power and frames over time", drawn, sizes)


def edges_of(frames: int, duration_s: float) -> Numbers:
    """The ends of equal pieces of the run, in seconds from its first answer."""
    count = int(np.clip(frames // LEAST_FRAMES, 1, MOST_BINS))
    return np.linspace(0.0, max(duration_s, 1e-3), count + 1)


def latency_curves(run: Recorded, edges: Numbers) -> list[Curve]:
    """Median and 95th percentile of each path in each piece; none in a piece without frames of it."""
    at, ms, is_full = _columns(run)
    middle = (edges[1:] + edges[:-1]) / 2
    curves = []
    for colour, (name, chosen) in enumerate((("exit", ~is_full), ("full", is_full))):
        if not chosen.any():
            continue
        ends = np.searchsorted(at[chosen], edges)
        ends[-1] = chosen.sum()
        groups = [ms[chosen][first:last] for first, last in itertools.pairwise(ends)]
        for percent, style, said in ((50, "-", "median"), (95, ":", "95 %")):
            values = [float(np.percentile(group, percent)) if len(group) else np.nan for group in groups]
            curves.append(Curve(f"{name}, {said}", middle, np.array(values), style, colour))
    return curves


def rate_curves(run: Recorded, edges: Numbers) -> list[Curve]:
    """Frames per second on each path, and of both."""
    at, _, is_full = _columns(run)
    middle, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    rows = (("exit", ~is_full, 0), ("full", is_full, 1), ("all", np.ones(len(at), bool), 5))
    return [
        Curve(name, middle, np.histogram(at[chosen], edges)[0] / width, colour=colour)
        for name, chosen, colour in rows
        if chosen.any()
    ]


def _columns(run: Recorded) -> tuple[Numbers, Numbers, npt.NDArray[np.bool_]]:
    answered = np.array(run.frames.answered_s)
    return answered - answered[0], np.array(run.frames.ms), np.frombuffer(bytes(run.frames.is_full), np.uint8) > 0


def series_curves(series: Mapping[str, tuple[array[float], array[float]]], begin_s: float, end_s: float) -> list[Curve]:
    """A curve for each series, interrupted where readings are missing; the highest ones, where there are many."""
    chosen = sorted(series, key=lambda name: -statistics.fmean(series[name][1]))[:MOST_CURVES]
    curves = []
    for name in [name for name in series if name in chosen]:
        x, y = (np.array(column) for column in series[name])
        inside = (x >= begin_s) & (x <= end_s)
        x, y = x[inside] - begin_s, y[inside]
        if len(x) > 2 * MOST_BINS:
            curves.append(_binned(name, x, y))
        elif len(x):
            steps = np.diff(x)
            gaps = np.flatnonzero(steps > LONGEST_GAP * (np.median(steps) if len(steps) else 0.0)) + 1
            curves.append(Curve(name, np.insert(x, gaps, x[gaps]), np.insert(y, gaps, np.nan)))
    return curves


def _binned(name: str, x: Numbers, y: Numbers) -> Curve:
    """The mean of the readings in each piece of the time axis, with the lowest and the highest one."""
    edges = np.linspace(x[0], x[-1], MOST_BINS + 1)
    ends = np.searchsorted(x, edges)
    ends[-1] = len(x)
    groups = [y[first:last] for first, last in itertools.pairwise(ends)]
    mean, low, high = (
        np.array([pick(group) if len(group) else np.nan for group in groups]) for pick in (np.mean, np.min, np.max)
    )
    return Curve(name, (edges[1:] + edges[:-1]) / 2, mean, low=low, high=high)


def _draw(curves: Sequence[Curve], y_label: str, per_unit: float, x_label: str) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        for place, curve in enumerate(curves):
            colour = SERIES[(place if curve.colour is None else curve.colour) % len(SERIES)]
            x, y = curve.x / per_unit, np.where(np.abs(curve.y) <= LARGEST, curve.y, np.nan)
            axes.plot(x, y, curve.style, color=colour, label=shortened(curve.name), linewidth=LINE_WIDTHS[curve.style])
            if curve.low is not None and curve.high is not None:
                low, high = (np.clip(values, -LARGEST, LARGEST) for values in (curve.low, curve.high))
                axes.fill_between(x, low, high, color=colour, alpha=0.25, linewidth=0)
        if y_label not in FLOATING:
            axes.set_ylim(bottom=0.0)
        axes.set(xlabel=x_label, ylabel=y_label)

    return draw
