"""The figures of the pages, as inline SVG: a histogram, lines, bars and a trade-off.

A value that is not finite or beyond 1e12 is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...bundle.figure_style import LIGHT, MARKERS, SERIES
from ...runtime.percentiles import percentile
from .drawable import SMALLEST, Line, clean, points_of, shortened, usable
from .svg import BOTH, render

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .drawable import Values

MOST_BANDS, MOST_SHADES = 30, 500  # windows with a name each, and without
SHARE_SHOWN = 0.995  # of the slowest series; the rest is cut off


@dataclass(frozen=True)
class Band:
    """A window on the time axis, in seconds."""

    start: float
    end: float
    name: str


@dataclass(frozen=True)
class Bar:
    """A value with half the width of its interval; text: shown beside it; the reason where there is no value."""

    name: str
    value: float | None
    plus_minus: float | None
    text: str


@dataclass(frozen=True)
class Point:
    """One choice on a trade-off. low, high: the ends of its interval, or the value itself; colour: a place in SERIES."""

    name: str
    x: float
    y: float
    low: float
    high: float
    colour: int


def histogram(label: str, series: Sequence[tuple[str, Values]], unit: str) -> str:
    """Shares of the passes over shared bins, with each series' median and 99th percentile; empty without values."""
    shown = [(name, usable(values)) for name, values in series]
    shown = [(name, values) for name, values in shown if len(values)]
    if not shown:
        return ""
    low = min(float(values.min()) for _, values in shown)
    high = max(float(np.quantile(values, SHARE_SHOWN)) for _, values in shown)
    if not high > low:
        low, high = low - 0.5 * abs(low) - SMALLEST, high + 0.5 * abs(high) + SMALLEST
    edges = np.linspace(low, high, int(np.clip(2 * max(len(values) for _, values in shown) ** 0.5, 20, 60)) + 1)

    def draw(axes: Axes) -> None:
        for place, (name, values) in enumerate(shown):
            colour = _colour(place)
            counts, _ = np.histogram(values, edges)
            median, p99 = float(np.median(values)), percentile(values.tolist(), 99)
            text = f"{shortened(name)}: median {median:.3g}, p99 {p99:.3g} {clean(unit)}, n = {len(values)}"
            axes.stairs(100 * counts / len(values), edges, fill=True, color=colour, alpha=0.25)
            axes.stairs(100 * counts / len(values), edges, color=colour, linewidth=1.4, label=text)
            axes.axvline(median, color=colour, linewidth=1.4)
            if p99 <= high:
                axes.axvline(p99, color=colour, linewidth=1.4, linestyle=(0, (3, 3)))
        axes.set(xlabel=clean(unit), ylabel="% of passes", xlim=(low, high))

    return render(label, draw, 3.4)


def lines(
    label: str, given: Sequence[Line], x_label: str, y_label: str, bands: Sequence[Band] = (),
    marker: tuple[float, str] | None = None, reference: tuple[float, str] | None = None, sizes: Sequence[str] = BOTH,
) -> str:  # fmt: skip
    """Lines over x, with windows behind them, a vertical `marker` and a horizontal `reference`; empty without a point."""
    shown = [points_of(line) for line in given]
    named = [(line, x, y) for line, (x, y) in zip(given, shown, strict=True) if len(x)]
    if not named:
        return ""

    def draw(axes: Axes) -> None:
        for place, (line, x, y) in enumerate(named):
            colour, text = _colour(place, line.colour), shortened(line.name) or None
            if len(line.plus_minus) == len(x):
                axes.errorbar(x, y, yerr=np.abs(usable(line.plus_minus)), fmt="none", ecolor=colour, elinewidth=1.2)
            axes.plot(x, y, line.style, color=colour, label=text)
        for at, draw_line in ((marker, axes.axvline), (reference, axes.axhline)):
            if at is not None and len(usable([at[0]])):
                text = f"{shortened(at[1])}: {at[0]:.4g}"
                draw_line(at[0], color=LIGHT["muted"], linewidth=1.4, linestyle=(0, (4, 3)), label=text)
        drawn = [band for band in bands if len(usable([band.start, band.end])) == 2]
        if drawn:
            _draw_bands(axes, drawn)
        if all((x == x.round()).all() for _, x, _ in named):  # numbers of samples: none is a half
            axes.locator_params(axis="x", integer=True)
        axes.set(xlabel=clean(x_label), ylabel=clean(y_label))

    return render(label, draw, 3.0, sizes)


def bars(label: str, given: Sequence[Bar], unit: str, reference: float = 0.0, sizes: Sequence[str] = BOTH) -> str:
    """A row per bar, from `reference`, with its interval and its text; empty without a bar."""
    if not given:
        return ""
    rows = [(bar, usable([bar.value if bar.value is not None else np.nan])) for bar in given]

    def draw(axes: Axes) -> None:
        ends = [reference]
        for place, (bar, value) in enumerate(rows):
            at = reference
            if len(value):
                width = usable([bar.plus_minus if bar.plus_minus is not None else 0.0])
                error = abs(float(width[0])) if len(width) else 0.0
                axes.barh(place, value[0] - reference, left=reference, height=0.62, color=SERIES[0])
                if error:
                    axes.errorbar(value[0], place, xerr=error, color=LIGHT["ink"], linewidth=1.2)
                ends += [value[0] - error, value[0] + error]
                at = max(reference, value[0] + error)
            text = shortened(bar.text, 60 if len(value) else 90)
            axes.annotate(text, (at, place), (5, 0), textcoords="offset points", va="center", fontsize="small")
        span = (max(ends) - min(ends)) or 1.0
        left = min(ends) if min(ends) == reference else min(ends) - 0.02 * span
        axes.set_xlim(left, max(ends) + 0.45 * span)  # room for the texts
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_yticks(range(len(rows)), [shortened(bar.name, 26) for bar, _ in rows])
        axes.tick_params(axis="y", length=0, labelcolor=LIGHT["ink"])
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.axvline(reference, color=LIGHT["muted"], linewidth=1.2)
        axes.set_xlabel(clean(unit))

    return render(label, draw, 0.9 + 0.3 * len(rows), sizes)


def trade_off(
    label: str, curves: Sequence[Line], points: Sequence[Point], x_label: str, y_label: str, top_label: str,
    top: Callable[[float], str],
) -> str:  # fmt: skip
    """Accuracy against speed, on axes that the curves fill: a point far outside of them is named and not drawn.

    top: the label on the upper axis for a tick of the lower one.
    """
    pairs = [points_of(line) for line in curves]
    shown = [(line, x, y) for line, (x, y) in zip(curves, pairs, strict=True) if len(x)]
    if not shown:
        return ""
    boxes = [(float(np.nanmin(values)), float(np.nanmax(values))) for _, x, y in shown for values in (x, y)]
    limits = [
        _widened(min(low for low, _ in ends), max(high for _, high in ends)) for ends in (boxes[::2], boxes[1::2])
    ]

    def draw(axes: Axes) -> None:
        for place, (line, x, y) in enumerate(shown):
            axes.plot(x, y, line.style, color=_colour(place, line.colour), label=shortened(line.name))
        for place, point in enumerate(points):
            if len(usable([point.x, point.y, point.low, point.high])) < 4:
                continue
            text, at = shortened(point.name, 60), (point.x, point.y)
            colour, marker = _colour(point.colour), MARKERS[place % len(MARKERS)]
            if not all(low <= value <= high for value, (low, high) in zip(at, limits, strict=True)):
                axes.errorbar([], [], fmt=marker, color=colour, label=f"{text} (outside this figure)")
                continue
            error = [[max(point.y - point.low, 0.0)], [max(point.high - point.y, 0.0)]]
            axes.errorbar(
                *at, yerr=error, fmt=marker, color=colour, ecolor=colour, elinewidth=1.2, label=text, zorder=3
            )
        axes.set(xlabel=clean(x_label), ylabel=clean(y_label))
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        above = axes.secondary_xaxis("top")
        above.set_xticks(ticks, [clean(top(tick)) for tick in ticks])
        above.set_xlabel(clean(top_label))

    return render(label, draw, 4.4)


def _widened(low: float, high: float) -> tuple[float, float]:
    """The limits beyond which a point is not drawn, since it would flatten the curves."""
    span = high - low
    return low - 0.6 * span, high + 0.6 * span


def _draw_bands(axes: Axes, bands: Sequence[Band]) -> None:
    """Windows as shaded areas, each with its name above the lines."""
    for band in bands[:MOST_SHADES]:
        axes.axvspan(band.start, band.end, color=LIGHT["band"], linewidth=0, zorder=0)
    if len(bands) > MOST_BANDS:
        return
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.45 * (high - low))
    options: dict[str, Any] = {"rotation": 90, "ha": "center", "va": "top", "fontsize": "x-small"}
    for band in bands:
        place = ((band.start + band.end) / 2, 0.98)
        axes.text(
            *place, shortened(band.name, 18), transform=axes.get_xaxis_transform(), color=LIGHT["muted"], **options
        )


def _colour(place: int, chosen: int | None = None) -> str:
    return SERIES[(place if chosen is None else chosen) % len(SERIES)]
