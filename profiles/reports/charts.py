"""Charts as SVG text for an HTML page: coloured by CHART_CSS, without scripts, every mark with its value as a <title>.

A value that is NaN, infinite or beyond 1e150 is left out, and the chart says how many were.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .scales import (
    ABOVE,
    LARGEST,
    PLOT_HEIGHT,
    ROW,
    WIDTH,
    Axes,
    Flag,
    Scale,
    bin_width,
    centred_text,
    clean,
    draw_bar,
    draw_flags,
    draw_legend,
    empty_chart,
    end_labels,
    exact,
    fitting_ticks,
    fixed,
    is_usable,
    number,
    outline,
    path,
    polyline,
    prefixed,
    range_of,
    rounded_out,
    runs_of,
    shortened,
    strip,
    svg,
    text_at,
    text_width,
    tick_texts,
    title,
    with_error,
    wrapped,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = Sequence[float] | npt.NDArray[np.floating]

# Told apart in normal vision and, in OKLab after Machado's simulation, in the three kinds of colour blindness;
# every series has 3:1 or more against its surface.
CHART_CSS = """\
:root {
  color-scheme: light dark;
  --surface: #ffffff; --ink: #1b1f24; --muted: #5a636e; --grid: #e3e7eb; --band: #eef2f7;
  --series-1: #1a5fcb; --series-2: #b34a06; --series-3: #2ba18c;
  --series-4: #74386a; --series-5: #b98600; --series-6: #6b7688;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --surface: #15181c; --ink: #e6e9ed; --muted: #9aa4af; --grid: #2b3138; --band: #20262e;
    --series-1: #4f8ff0; --series-2: #e0721f; --series-3: #4fd6b0;
    --series-4: #d3a6ff; --series-5: #fcc23a; --series-6: #8b95a3;
  }
}
.chart { display: block; width: 100%; max-width: 760px; height: auto; background: var(--surface); }
.chart text { font: 12px system-ui, sans-serif; font-variant-numeric: tabular-nums; fill: var(--muted);
  paint-order: stroke; stroke: var(--surface); stroke-width: 3px; stroke-linejoin: round; }
.chart .ink { fill: var(--ink); }
.chart .s1 { --series: var(--series-1); } .chart .s2 { --series: var(--series-2); }
.chart .s3 { --series: var(--series-3); } .chart .s4 { --series: var(--series-4); }
.chart .s5 { --series: var(--series-5); } .chart .s6 { --series: var(--series-6); }
.chart path { fill: none; }
.chart .grid { stroke: var(--grid); } .chart .axis { stroke: var(--muted); stroke-opacity: .6; }
.chart .band { fill: var(--band); } .chart .frame { fill: none; stroke: var(--grid); }
.chart .hover { fill: var(--ink); fill-opacity: 0; } .chart .hover:hover { fill-opacity: .08; }
.chart .line { stroke: var(--series); stroke-width: 1.4; stroke-linejoin: round; stroke-linecap: round; }
.chart .area { fill: var(--series); fill-opacity: .25; stroke: var(--series); stroke-width: 1.2; }
.chart .bar, .chart .swatch { fill: var(--series); }
.chart .point { fill: var(--series); stroke: var(--surface); stroke-width: 1.2; }
.chart .whisker { stroke: var(--series); stroke-width: 1.2; }
.chart .error { stroke: var(--ink); stroke-width: 1.2; }
.chart .median { stroke: var(--series); stroke-width: 1.6; }
.chart .p99 { stroke: var(--series); stroke-width: 1.6; stroke-dasharray: 4 3; }
.chart .leader { stroke: var(--series, var(--muted)); stroke-dasharray: 1 2; }
.chart .mark { stroke: var(--muted); stroke-width: 1.2; stroke-dasharray: 5 4; }
@media (max-width: 600px) { .chart text { font-size: 15px; } }
"""
MOST_DOTS = 60  # of a curve: more of them hide the line
MOST_STRIPS = 110  # that tell values under the pointer
BLOCKS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Series:
    """The values of one path: one a frame."""

    name: str
    values: Values


@dataclass(frozen=True)
class Line:
    """y over x, of the same length; `low` and `high` too where points have whiskers (NaN: this one has none)."""

    name: str
    x: Values
    y: Values
    low: Values = ()
    high: Values = ()


@dataclass(frozen=True)
class Band:
    """A window on the time axis, in seconds."""

    start: float
    end: float
    text: str = ""


@dataclass(frozen=True)
class Bar:
    """A value between the ends of its error bar, or None and the reason."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Mark:
    """A line across a plot and what it stands for."""

    at: float
    text: str


def histogram(series: Sequence[Series], unit: str, label: str) -> str:
    """Shares of frames over shared bins, with each series' median and p99; says how many lie beyond the axis."""
    import numpy as np

    given = [np.asarray(one.values, dtype=np.float64).ravel() for one in series]
    usable = [values[np.abs(values) <= LARGEST] for values in given]
    left_out = sum(map(len, given)) - sum(map(len, usable))
    named = [(clean(one.name), f"s{i % 6 + 1}", usable[i]) for i, one in enumerate(series)]
    filled = [row for row in named if len(row[2])]
    if not filled:
        return empty_chart(label, "no values", left_out)
    low, top = min(float(values.min()) for *_, values in filled), max(float(values.max()) for *_, values in filled)
    cut = max(float(np.quantile(values, 0.995)) for *_, values in filled)
    if top - cut <= 0.25 * (cut - low):
        cut = top  # a tail too short to cut
    low, high = range_of([low, cut])
    factor, unit = prefixed(clean(unit), max(abs(low), abs(high)))
    filled = [(name, style, factor * values) for name, style, values in filled]
    step = bin_width([values for *_, values in filled], factor * (high - low))
    low, high = rounded_out(factor * low, factor * high, step)
    edges = [low + index * step for index in range(round((high - low) / step) + 1)]
    edge_texts = tick_texts(edges, step)

    rows, beyond = [], 0
    for name, style, values in filled:
        inside = values[values <= high + 1e-5 * step]  # an edge is a rounded product
        beyond += len(values) - len(inside)
        counts, _ = np.histogram(np.clip(inside, edges[0], edges[-1]), bins=len(edges) - 1, range=(edges[0], edges[-1]))
        rows.append((name, style, values, counts.tolist()))
    flags = []
    for name, style, values, _ in rows:
        for kind, share in (("median", 0.5), ("p99", 0.99)):
            at = float(np.quantile(values, share))
            text = f"{shortened(name, 100)} {kind} {number(at)}" if len(series) > 1 else f"{kind} {number(at)}"
            about = f"{name}: {kind} {exact(at)} {unit}, of {len(values)} frames"
            flags.append(Flag(at, text, f"{kind} {style}", about))
    highest = max(100 * max(counts) / len(values) for *_, values, counts in rows)
    axes, drawn, rise = draw_flags((edges[0], edges[-1]), (0, highest), flags)
    parts = axes.draw(unit)
    for name, style, values, counts in rows:
        tops = [axes.y(100 * count / len(values)) for count in counts]
        steps = outline([axes.x(edge) for edge in edges], tops)
        parts.append(path(steps, f"area {style}", f"{name}: {len(values)} frames"))
    for index, (start, end) in enumerate(itertools.pairwise(edges)):
        told = [f"{name}: {counts[index]} of {len(values)} frames" for name, _, values, counts in rows]
        if any(counts[index] for *_, counts in rows):
            parts.append(strip(axes, start, end, [f"{edge_texts[index]}–{edge_texts[index + 1]} {unit}", *told]))
    sizes = [(f"{name}, {fixed(len(values), 0)} frames", style) for name, style, values in named]
    legend, rise = draw_legend("share of frames, %", sizes, rise)
    note = f"{fixed(beyond, 0)} beyond {edge_texts[-1]} {unit}, up to {number(factor * top)} {unit}" if beyond else ""
    return svg(label, rise, parts + drawn + legend, PLOT_HEIGHT + 40, note, left_out)


def timeline(lines: Sequence[Line], windows: Sequence[Band], unit: str, label: str, x_label: str = "time (s)") -> str:
    """Lines over seconds, with the windows behind them.

    A line stops where samples are missing: at a jump in time of over five of its median intervals.
    """
    import numpy as np

    left_out, tracks = 0, []
    for index, line in enumerate(lines):
        x, y = np.asarray(line.x, dtype=np.float64), np.asarray(line.y, dtype=np.float64)
        if x.shape != y.shape:
            raise ValueError(f"{line.name} has {len(x)} times and {len(y)} values: a Line needs one of each")
        usable = np.flatnonzero((np.abs(x) <= LARGEST) & (np.abs(y) <= LARGEST))
        usable = usable[np.argsort(x[usable], kind="stable")]
        left_out += len(x) - len(usable)
        if len(usable):
            tracks.append(_Track(clean(line.name), f"s{index % 6 + 1}", x[usable], y[usable]))
    bands = [band for band in windows if is_usable(band.start) and is_usable(band.end)]
    left_out += len(windows) - len(bands)
    if not tracks:
        return empty_chart(label, "no samples", left_out)
    times = [time for track in tracks for time in (float(track.x[0]), float(track.x[-1]))]
    times += [time for band in bands for time in (band.start, band.end)]
    levels = [level for track in tracks for level in (float(track.y.min()), float(track.y.max()))]
    factor, unit = prefixed(clean(unit), max(map(abs, levels)))
    tracks = [_Track(track.name, track.style, track.x, factor * track.y) for track in tracks]
    axes = Axes.around(
        range_of(times), range_of([factor * level for level in levels], zero=True), [track.name for track in tracks]
    )
    parts, rise, note = _draw_bands(axes, bands)
    parts += axes.draw(x_label) + _track_strips(axes, tracks, bands, unit)
    ends = []
    for track in tracks:
        x, y = track.x, track.y
        about = f"{track.name}: mean {exact(float(y.mean()))} {unit} of {len(y)} samples"
        runs = [[(axes.x(float(x[i])), axes.y(float(y[i]))) for i in run] for run in runs_of(x, y)]
        about += f", {exact(float(y.min()))} to {exact(float(y.max()))} {unit}"
        parts.append(path("".join(map(polyline, runs)), f"line {track.style}", about))
        ends.append((*runs[-1][-1], track.name, track.style))
    caption, rise = draw_legend(unit, [], rise)
    return svg(label, rise, parts + end_labels(axes, ends) + caption, PLOT_HEIGHT + 40, note, left_out)


def bars(bars: Sequence[Bar], unit: str, label: str) -> str:
    """A row a bar, from zero, with its error bar and its value as text; the reason where there is no value."""
    given = [value for bar in bars for value in (bar.value, bar.low, bar.high) if value is not None]
    ends = [value for value in given if is_usable(value)]
    if not bars:
        return empty_chart(label, "no rows", 0)
    factor, unit = prefixed(clean(unit), max(map(abs, ends), default=0))
    rows = []
    for bar in bars:
        if is_usable(bar.value):
            values = [factor * bar.value]
            if is_usable(bar.low) and is_usable(bar.high):
                values += [factor * bar.low, factor * bar.high]
            rows.append((clean(bar.name), values, f"{with_error(*values)} {unit}"))
        else:
            reason = clean(bar.reason) or ("not measured" if bar.value is None else "not a finite number")
            rows.append((clean(bar.name), [], reason))
    widest = max(text_width(name) for name, *_ in rows)
    stacked = widest > WIDTH / 3  # then names stand above their bars
    values_width = max((text_width(text) for _, values, text in rows if values), default=0)
    low, high = range_of([factor * end for end in ends], zero=True)
    x = Scale(low, high, (16 if low < 0 else 6) if stacked else widest + 14, WIDTH - values_width - 14)
    y, parts = 4.0, []
    for name, values, text in rows:
        parts.append(text_at(0 if stacked else x.start - 10, y + 14, name, "ink", "start" if stacked else "end"))
        y += 21 if stacked else 0
        if values:
            parts.append(draw_bar(x, y, name, values, unit))
            parts.append(text_at(WIDTH, y + 14, text, "ink", "end"))
            y += 28
        else:
            for line in wrapped(text, WIDTH - x.start - 8):
                parts.append(text_at(x.start + 8, y + 14, line))
                y += ROW
            y += 11
    grid = []
    if any(values for _, values, _ in rows):
        ticks, texts, _ = fitting_ticks(x)
        for tick, text in zip(ticks, texts, strict=True):
            grid.append(path(f"M{x(tick):.1f},0V{y:.1f}", "axis" if tick == 0 else "grid"))
            grid.append(centred_text(x(tick), y + 17, text))
        grid.append(centred_text((x.start + x.end) / 2, y + 35, unit))
        y += 40
    return svg(label, 0, grid + parts, y, "", len(given) - len(ends))


def curves(
    lines: Sequence[Line],
    x_label: str,
    y_label: str,
    label: str,
    marker: Mark | None = None,
    reference: Mark | None = None,
) -> str:
    """Points in their order, joined, with whiskers; a vertical `marker` and a horizontal `reference` where given.

    A point that is left out parts the line.
    """
    x_label, y_label = clean(x_label), clean(y_label)
    given = [mark for mark in (marker, reference) if mark]
    marker = marker if marker and is_usable(marker.at) else None
    reference = reference if reference and is_usable(reference.at) else None
    left_out, drawn = len(given) - sum(mark is not None for mark in (marker, reference)), []
    for index, line in enumerate(lines):
        sides = [side if len(side) else [math.nan] * len(line.x) for side in (line.low, line.high)]
        points = [_Point(*map(float, row)) for row in zip(line.x, line.y, *sides, strict=True)]
        left_out += sum(not point.is_usable for point in points)
        drawn.append((clean(line.name), f"s{index % 6 + 1}", points))
    usable = [point for *_, points in drawn for point in points if point.is_usable]
    if not usable:
        return empty_chart(label, "no points", left_out)
    levels = [level for point in usable for level in (point.y, *point.whisker)] + ([reference.at] if reference else [])
    tags = [name for name, *_ in drawn] + ([clean(reference.text)] if reference else [])
    axes = Axes.around(
        range_of([point.x for point in usable] + ([marker.at] if marker else [])),
        range_of(levels, zero=0 <= 2 * min(levels) < max(levels)),
        tags,
        pad=10,
    )
    parts, ends, rise = axes.draw(x_label), [], 0.0
    if marker:
        at, text = axes.x(marker.at), clean(marker.text)
        parts.append(path(f"M{at:.1f},{PLOT_HEIGHT}V{4 - ABOVE}", "mark", f"{text}: {x_label} {exact(marker.at)}"))
        parts.append(centred_text(at, -ABOVE, text, "ink"))
        rise = ROW + ABOVE - 6
    if reference:
        at, text = axes.y(reference.at), clean(reference.text)
        steps = f"M{axes.left:.1f},{at:.1f}H{axes.right:.1f}"
        parts.append(path(steps, "mark", f"{text}: {y_label} {exact(reference.at)}"))
        ends.append((axes.right, at, text, "mark"))
    for name, style, points in drawn:
        runs: list[list[tuple[float, float]]] = [[]]
        for point in points:
            if point.is_usable:
                runs[-1].append((axes.x(point.x), axes.y(point.y)))
            else:
                runs.append([])
        if runs := [run for run in runs if run]:
            parts.append(path("".join(map(polyline, runs)), f"line {style}", f"{name}: {sum(map(len, runs))} points"))
            ends.append((*runs[-1][-1], name, style))
    for name, style, points in drawn:
        if len(points) <= MOST_DOTS:
            parts += [_draw_point(axes, point, style, [name, x_label, y_label]) for point in points if point.is_usable]
    caption, rise = draw_legend(y_label, [], rise)
    return svg(label, rise, parts + end_labels(axes, ends) + caption, PLOT_HEIGHT + 40, "", left_out)


def sparkline(values: Values, width: int = 24) -> str:
    """One row of blocks for a terminal, at most `width`: means of neighbours where there are more values.

    A space stands where no value is finite.
    """
    cells = min(width, len(values))
    groups = [values[index * len(values) // cells : (index + 1) * len(values) // cells] for index in range(cells)]
    finite = [[value for value in group if is_usable(value)] for group in groups]
    means = [statistics.fmean(group) if group else None for group in finite]
    low, high = (pick((mean for mean in means if mean is not None), default=0.0) for pick in (min, max))
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        return "".join(" " if mean is None else BLOCKS[3] for mean in means)
    return "".join(" " if mean is None else BLOCKS[min(7, int(8 * (mean - low) / (high - low)))] for mean in means)


@dataclass(frozen=True)
class _Track:
    """A line's usable samples, by time."""

    name: str
    style: str
    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Point:
    x: float
    y: float
    low: float
    high: float

    @property
    def is_usable(self) -> bool:
        return is_usable(self.x) and is_usable(self.y)

    @property
    def whisker(self) -> tuple[float, ...]:
        return (self.low, self.high) if is_usable(self.low) and is_usable(self.high) else ()


def _draw_bands(axes: Axes, bands: Sequence[Band]) -> tuple[list[str], float, str]:
    """The windows, their texts in up to three rows above, the height of these rows, and a note where they don't fit."""
    parts, texts, row_ends = [], [], [0.0]
    for band in sorted(bands, key=lambda band: min(band.start, band.end)):
        start, end = sorted((axes.x(band.start), axes.x(band.end)))
        text = clean(band.text)
        about = f"{text or 'window'}: {exact(band.start)} to {exact(band.end)} s, {exact(abs(band.end - band.start))} s long"
        size = f'x="{start:.1f}" y="0" width="{max(1, end - start):.1f}" height="{PLOT_HEIGHT}"'
        parts.append(f'<rect class="band" {size}>{title(about)}</rect>')
        if text:
            half = min(text_width(text), 170) / 2
            middle = min(max((start + end) / 2, axes.left + half), WIDTH - half)
            row = next((row for row, taken in enumerate(row_ends) if taken <= middle - half), len(row_ends))
            row_ends[row:] = [middle + half + 6, *row_ends[row + 1 :]]
            texts.append(text_at(middle, -ABOVE - ROW * row, text, anchor="middle", width=170))
    if len(row_ends) > 3:
        return parts, 0, f"{len(bands)} windows: their names show under the pointer"
    return parts + texts, ROW * len(row_ends) + ABOVE - 6 if texts else 0, ""


def _draw_point(axes: Axes, point: _Point, style: str, names: Sequence[str]) -> str:
    x, y = axes.x(point.x), axes.y(point.y)
    about, whisker = f"{names[0]}\n{names[1]}: {exact(point.x)}\n{names[2]}: {exact(point.y)}", ""
    if ends := point.whisker:
        about += f" ({exact(ends[0])} to {exact(ends[1])})"
        whisker = path(f"M{x - 3:.1f},{axes.y(ends[0]):.1f}h6m-3,0V{axes.y(ends[1]):.1f}m-3,0h6", "whisker")
    return f'<g class="{style}">{title(about)}{whisker}<circle class="point" cx="{x:.1f}" cy="{y:.1f}" r="3.6"/></g>'


def _track_strips(axes: Axes, tracks: Sequence[_Track], bands: Sequence[Band], unit: str) -> list[str]:
    """What shows under the pointer: each line's mean in a slice of time, its range, and the window there."""
    import numpy as np

    edges = np.linspace(axes.x.low, axes.x.high, min(MOST_STRIPS, max(len(track.x) for track in tracks)) + 1)
    cuts = [[*np.searchsorted(track.x, edges[:-1]).tolist(), len(track.x)] for track in tracks]
    parts = []
    for index, (start, end) in enumerate(zip(edges.tolist(), edges[1:].tolist(), strict=False)):
        about = [f"{number(start, 4)}–{number(end, 4)} s"]
        about += [clean(band.text) for band in bands if band.start < end and band.end > start and band.text]
        for track, cut in zip(tracks, cuts, strict=True):
            values = track.y[cut[index] : cut[index + 1]]
            if len(values):
                spread = f" ({number(float(values.min()))}–{number(float(values.max()))})" if len(values) > 1 else ""
                about.append(f"{track.name}: {exact(float(values.mean()))} {unit}{spread}")
        parts.append(strip(axes, start, end, about))
    return parts
