"""What a chart is laid out with: scales, ticks in steps of 1, 2 and 5, numbers and names as text, and its elements."""

from __future__ import annotations

import html
import itertools
import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

WIDTH = 680.0  # of every drawing, in its own units: pixels where the page has room
PLOT_HEIGHT = 210.0
ROW = 18.0
ABOVE = 11.0  # from a plot's top up to a text: clear of the highest tick's
TEXT = 15.0  # texts are measured as large as a narrow page draws them
MOST_POINTS = 800  # of a drawn line: more than there are pixels
LARGEST = 1e150  # beyond it a range overflows; such a value counts as infinite
NARROWEST = 1e-9  # of the values' size: a range below it has no ticks that differ in a double
THIN_SPACE = "\u202f"
PREFIXES = {"n": -9, "µ": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9}
SI_UNIT = re.compile(r"([nuµmkMG]?)(s|W|J|Hz|V|A|B)")


@dataclass(frozen=True)
class Scale:
    """From a value to a place in the drawing: `low` lies at `start`, `high` at `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def is_usable(value: float | None) -> TypeGuard[float]:
    return value is not None and abs(float(value)) <= LARGEST  # NaN compares as false


def range_of(values: Iterable[float], zero: bool = False) -> tuple[float, float]:
    """Lowest and highest, apart: one value only gets a range around it. `zero`: the range holds 0."""
    found = [*values, *([0.0] if zero else [])] or [0.0]
    low, high = min(found), max(found)
    if high - low > max(1 / LARGEST, NARROWEST * max(abs(low), abs(high))):
        return low, high
    if zero:
        return (0.0, 1.0)
    pad = 0.05 * abs(low) if abs(low) > 1 / LARGEST else 0.5
    return low - pad, high + pad


def step_of(low: float, high: float, most: int) -> float:
    """The smallest of 1, 2, 5 x 10^n that cuts the range into at most `most` parts."""
    rough = (high - low) / most
    base = 10.0 ** math.floor(math.log10(rough))
    return next((factor * base for factor in (1, 2, 5) if factor * base >= rough * (1 - 1e-9)), 10 * base)


def ticks_in(low: float, high: float, step: float) -> list[float]:
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    return [number * step for number in range(first, last + 1)]


def rounded_out(low: float, high: float, step: float) -> tuple[float, float]:
    """The range up to the next ticks."""
    return math.floor(low / step + 1e-6) * step, math.ceil(high / step - 1e-6) * step


def tick_texts(ticks: Sequence[float], step: float) -> list[str]:
    """All with the same number of decimals, as many as the step needs."""
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    texts = [fixed(tick, decimals) for tick in ticks]
    if max(map(len, texts), default=0) <= 9:
        return texts
    digits = max(0, math.floor(math.log10(max(map(abs, ticks)))) - math.floor(math.log10(step) + 1e-9))
    short = [_exponent(f"{tick:.{digits}e}") if abs(tick) > step / 2 else "0" for tick in ticks]
    short = [re.sub(r"\.?0+e", "e", text) for text in short]
    return min(texts, short, key=lambda row: max(map(len, row)))


def fixed(value: float, decimals: int) -> str:
    text = f"{value:,.{decimals}f}"
    if not text.strip("-0.,"):
        text = text.lstrip("-")
    whole, point, rest = text.partition(".")
    whole = whole.replace(",", THIN_SPACE if len(whole.lstrip("-")) > 5 else "")
    return (whole + point + rest).replace("-", "−")


def number(value: float, digits: int = 3) -> str:
    """With so many significant digits: 10.2, 0.0312, 1234, 56 800, 1.20e-9."""
    value = float(f"{value:.{digits - 1}e}") if abs(value) < 10 ** (digits - 1) else value
    size = math.floor(math.log10(abs(value))) if value else 0
    if value and not -5 < size < 7:
        return _exponent(f"{value:.{digits - 1}e}")
    return fixed(value, max(0, digits - 1 - size) if value else 0)


def exact(value: float) -> str:
    """With up to seven significant digits, for the text under the pointer."""
    return _exponent(f"{value:.7g}")


def with_error(value: float, low: float | None = None, high: float | None = None) -> str:
    """10.2 ± 0.9, the error with one digit (two when the first is a 1); 10.2 (9.8–12.0) when the sides differ."""
    if low is None or high is None or not (spread := max(high - value, value - low)) > 0:
        return number(value)
    least = min((side for side in (high - value, value - low) if side > 0), default=spread)
    size = math.floor(math.log10(least) + 1e-9)
    decimals = max(0, -size + (least < 1.95 * 10.0**size))
    if decimals > 6 or max(abs(value), abs(low), abs(high)) >= 1e7:
        text, low_text, high_text, spread_text = (number(v) for v in (value, low, high, spread))
    else:
        text, low_text, high_text, spread_text = (fixed(v, decimals) for v in (value, low, high, spread))
    if abs((high - value) - (value - low)) <= 0.1 * spread:
        return f"{text} ± {spread_text}"
    return f"{text} ({low_text}–{high_text})"


def prefixed(unit: str, largest: float) -> tuple[float, str]:
    """The factor and the unit that make numbers of this size readable: 0.0002 ms as 0.2 µs; others stay."""
    known = SI_UNIT.fullmatch(unit)
    if not known or largest == 0 or 0.01 <= largest < 1e4:
        return 1.0, unit
    now, base = PREFIXES[known[1].replace("u", "µ")], known[2]
    wanted = 3 * math.floor((math.log10(largest) + now) / 3)
    wanted = max(-9, min(wanted, 0 if base == "s" else 9))  # no kiloseconds
    prefix = next(name for name, power in PREFIXES.items() if power == wanted)
    return 10.0 ** (now - wanted), prefix + base


def clean(name: str) -> str:
    """A name from outside on one line, without what XML forbids and what would turn or hide text."""
    return "".join(char if char.isprintable() else "\ufffd" for char in " ".join(str(name).split()))


def text_width(text: str) -> float:
    """What the text takes at most: the widths of DejaVu Sans, which is wider than most system fonts."""
    return TEXT * sum(map(_char_width, text))


def shortened(text: str, width: float) -> str:
    """The text with its middle left out, so that it fits: what tells names apart stands at both ends."""
    if text_width(text) <= width:
        return text
    for kept in range(min(len(text) - 1, int(width)), 1, -1):
        short = text[: (kept + 1) // 2].rstrip() + "…" + text[len(text) - kept // 2 :].lstrip()
        if text_width(short) <= width:
            return short
    return "…"


def wrapped(text: str, width: float) -> list[str]:
    """Lines that fit, broken at spaces; a word too long for a line is shortened."""
    lines: list[str] = []
    for word in text.split():
        if lines and text_width(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(shortened(word, width))
    return lines


def pushed_apart(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """The places, in their order, each `gap` from the next and between low and high; closer where they are too many."""
    gap = min(gap, (high - low) / max(1, len(places) - 1))
    order = sorted(range(len(places)), key=lambda index: places[index])
    moved = [0.0] * len(places)
    floor = low
    for index in order:
        moved[index] = floor = max(places[index], floor)
        floor += gap
    ceiling = high
    for index in reversed(order):
        moved[index] = ceiling = min(moved[index], ceiling)
        ceiling -= gap
    return moved


def title(text: str) -> str:
    return f"<title>{html.escape(text)}</title>"


def text_at(x: float, y: float, text: str, style: str = "", anchor: str = "start", width: float = WIDTH) -> str:
    """The text, shortened to `width`; then the whole of it shows under the pointer."""
    short = shortened(text, width)
    whole = title(text) if short != text else ""
    name = f' class="{style}"' if style else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{name}>{html.escape(short)}{whole}</text>'


def centred_text(x: float, y: float, text: str, style: str = "") -> str:
    """The text around x, or as near as the drawing's sides let it."""
    half = min(text_width(text), WIDTH) / 2
    return text_at(min(max(x, half), WIDTH - half), y, text, style, "middle")


def path(steps: str, style: str, text: str = "") -> str:
    return f'<path class="{style}" d="{steps}"{">" + title(text) + "</path>" if text else "/>"}'


def fitting_ticks(scale: Scale) -> tuple[list[float], list[str], float]:
    """As many ticks, up to nine, as their texts leave room for, and the step between them."""
    for most in range(9, 0, -1):
        step = step_of(scale.low, scale.high, most)
        ticks = ticks_in(scale.low, scale.high, step)
        texts = tick_texts(ticks, step)
        if max(map(text_width, texts), default=0) + 16 <= abs(scale(step) - scale(0)):
            break
    return ticks, texts, step


@dataclass(frozen=True)
class Axes:
    """A plot from y = 0 down to PLOT_HEIGHT: what stands above it has a negative y. `pad` lies beside the x scale."""

    x: Scale
    y: Scale
    pad: float

    @classmethod
    def around(
        cls, x_range: tuple[float, float], y_range: tuple[float, float], tags: Sequence[str] = (), pad: float = 0
    ) -> Axes:
        """Axes with room on the right for tags; y goes on to its next ticks."""
        step = step_of(*y_range, 5)
        y = Scale(*rounded_out(*y_range, step), PLOT_HEIGHT, 0)
        left = max(26, max(map(text_width, tick_texts(ticks_in(y.low, y.high, step), step))) + 10)
        right = min(WIDTH / 2, max((text_width(tag) + 30 for tag in tags), default=24))
        return cls(Scale(*x_range, left + pad, WIDTH - right - pad), y, pad)

    @property
    def left(self) -> float:
        return self.x.start - self.pad

    @property
    def right(self) -> float:
        return self.x.end + self.pad

    def draw(self, x_caption: str) -> list[str]:
        parts = []
        step = step_of(self.y.low, self.y.high, 5)
        ticks = ticks_in(self.y.low, self.y.high, step)
        for tick, text in zip(ticks, tick_texts(ticks, step), strict=True):
            style = "axis" if tick == max(0, self.y.low) else "grid"
            parts.append(path(f"M{self.left:.1f},{self.y(tick):.1f}H{self.right:.1f}", style))
            parts.append(text_at(self.left - 8, self.y(tick) + 4, text, anchor="end"))
        ticks, texts, _ = fitting_ticks(self.x)
        for tick, text in zip(ticks, texts, strict=True):
            parts.append(path(f"M{self.x(tick):.1f},{PLOT_HEIGHT}v4", "axis"))
            parts.append(centred_text(self.x(tick), PLOT_HEIGHT + 18, text))
        middle = (self.left + self.right) / 2
        parts.append(
            text_at(middle, PLOT_HEIGHT + 36, x_caption, anchor="middle", width=2 * min(middle, WIDTH - middle))
        )
        return parts


@dataclass(frozen=True)
class Flag:
    """A vertical line with its text on top, right or left of it."""

    at: float
    text: str
    style: str
    about: str


def draw_flags(
    x_range: tuple[float, float], y_range: tuple[float, float], flags: Sequence[Flag]
) -> tuple[Axes, list[str], float]:
    """Axes, the flags on them, and the height of the texts' rows; no line runs through a text.

    The axes leave room on the right if there is no other way: with every text right of its line there always is one.
    """
    widths = [text_width(flag.text) + 10 for flag in flags]
    for room in ([], [flag.text for flag in flags]):
        axes = Axes.around(x_range, y_range, room)
        lines = [axes.x(flag.at) for flag in flags]
        sides = [
            [(x + 2, x + width)] * (x + width <= WIDTH) + [(x - width, x - 2)] * (x >= width)
            for x, width in zip(lines, widths, strict=True)
        ]
        choices = itertools.islice(itertools.product(*sides), 256)  # every choice for four series
        ways = [(rows, spans) for spans in choices if (rows := _rows_of(lines, spans))]
        if ways:
            break
    rows, spans = min(ways, key=lambda way: max(way[0]))
    parts = []
    for flag, x, (start, _), row in zip(flags, lines, spans, rows, strict=True):
        y = -ABOVE - ROW * row
        parts.append(path(f"M{x:.1f},{PLOT_HEIGHT}V{y - 10:.1f}", flag.style, flag.about))
        side, anchor = (5, "start") if start > x else (-5, "end")
        parts.append(text_at(x + side, y, flag.text, "ink", anchor))
    return axes, parts, ROW * (max(rows) + 1) + ABOVE - 6


def _rows_of(lines: Sequence[float], spans: Sequence[tuple[float, float]]) -> list[int]:
    """The lowest row for each text: above the ends of the lines in its span, beside the texts of its row; [] if none."""
    below = [{k for k, x in enumerate(lines) if start < x < end} for start, end in spans]
    rows: dict[int, int] = {}
    while len(rows) < len(lines):
        index = next((k for k in range(len(lines)) if k not in rows and below[k] <= rows.keys()), None)
        if index is None:
            return []
        start, end = spans[index]
        taken = {row for k, row in rows.items() if spans[k][0] < end and start < spans[k][1]}
        lowest = max((rows[k] for k in below[index]), default=-1) + 1
        rows[index] = next(row for row in itertools.count(lowest) if row not in taken)
    return [rows[index] for index in range(len(lines))]


def draw_bar(x: Scale, y: float, name: str, values: Sequence[float], unit: str) -> str:
    """The bar and, where `values` goes on with low and high, its error bar."""
    about, error = f"{name}: {exact(values[0])} {unit}", ""
    if len(values) > 1:
        about += f", {exact(values[1])} to {exact(values[2])} {unit}"
        error = path(f"M{x(values[1]):.1f},{y + 5.5}v8m0,-4H{x(values[2]):.1f}m0,-4v8", "error")
    start, end = sorted((x(0), x(values[0])))
    size = f'x="{start:.2f}" y="{y + 2}" width="{end - start:.2f}" height="15"'
    return f'<g>{title(about)}<rect class="bar s1" {size}/>{error}</g>'


def end_labels(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> list[str]:
    """Names in the right margin, pushed apart, each led to from its line's last point: (x, y, name, style)."""
    parts, places = [], pushed_apart([y for _, y, *_ in ends], ROW - 1, 2, PLOT_HEIGHT - 2)
    for (x, y, name, style), place in zip(ends, places, strict=True):
        start = axes.right + 12
        steps = f"M{x:.1f},{y:.1f}L{max(x, axes.right):.1f},{y:.1f}L{start:.1f},{place:.1f}"
        parts.append(path(steps, f"leader {style}"))
        parts.append(path(f"M{start:.1f},{place:.1f}h11", style if style == "mark" else f"line {style}"))
        parts.append(text_at(start + 17, place + 4, name, "ink", width=WIDTH - start - 17))
    return parts


def draw_legend(caption: str, entries: Sequence[tuple[str, str]], rise: float) -> tuple[list[str], float]:
    """What y is, then the entries (text, style) in as many rows as they need, above `rise`; the new rise."""
    rows: list[list[tuple[float, str, str]]] = [[]]
    x = left = text_width(caption) + 26 if entries else 0
    for text, style in entries:
        short = shortened(text, WIDTH - left - 18)
        if x > left and x + 18 + text_width(short) > WIDTH:
            rows.append([])
            x = left
        rows[-1].append((x, text, style))
        x += text_width(short) + 38
    parts = [text_at(0, -rise - 14 - ROW * (len(rows) - 1), caption)]
    for index, row in enumerate(rows):
        y = -rise - 14 - ROW * (len(rows) - 1 - index)
        for x, text, style in row:
            parts.append(f'<rect class="swatch {style}" x="{x:.1f}" y="{y - 9:.1f}" width="11" height="10" rx="2"/>')
            parts.append(text_at(x + 17, y, text, "ink", width=WIDTH - x - 17))
    return parts, rise + ROW * len(rows) + 12


def bin_width(values: Sequence[npt.NDArray[np.float64]], span: float) -> float:
    """A step of 1, 2 or 5 near the finest that Freedman and Diaconis' rule asks of a series: at most 160 bins."""
    import numpy as np

    spreads = [(np.subtract(*np.quantile(one, (0.75, 0.25))), len(one)) for one in values]
    widths = [float(2 * spread / count ** (1 / 3)) for spread, count in spreads if spread > 0]
    width = min(max(min(widths, default=span / 40), span / 100), span / 20)
    return step_of(0, span, int(1.6 * span / width))


def outline(edges: Sequence[float], tops: Sequence[float]) -> str:
    """The outline over bins that hold something; `edges` and `tops` are places in the drawing."""
    drawn, is_open = "", False
    for start, end, top in zip(edges, edges[1:], tops, strict=False):
        if top < PLOT_HEIGHT:
            drawn += f"{'' if is_open else f'M{start:.1f},{PLOT_HEIGHT}'}V{top:.1f}H{end:.1f}"
        elif is_open:
            drawn += f"V{PLOT_HEIGHT}"
        is_open = top < PLOT_HEIGHT
    return drawn + (f"V{PLOT_HEIGHT}" if is_open else "")


def runs_of(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> list[list[int]]:
    """Indices to draw, a list for each stretch without a gap: of many samples, lowest and highest of each slice of time."""
    import numpy as np

    jumps = np.diff(x)
    usual = float(np.median(jumps[jumps > 0])) if (jumps > 0).any() else 0.0
    gaps = np.concatenate([[0], np.cumsum(jumps > 5 * usual)])
    if len(x) <= MOST_POINTS:
        kept, slices = list(range(len(x))), np.arange(len(x))
    else:
        low, high = range_of([float(x[0]), float(x[-1])])
        slices = np.minimum((x - low) / (high - low) * (MOST_POINTS // 2 - 1), MOST_POINTS // 2 - 2).astype(int)
        bounds = [0, *(np.flatnonzero(np.diff(slices)) + 1).tolist(), len(x)]
        found = {0, len(x) - 1}
        for start, end in itertools.pairwise(bounds):
            found |= {start + int(y[start:end].argmin()), start + int(y[start:end].argmax())}
        kept = sorted(found)
    runs = [[kept[0]]]
    for last, index in itertools.pairwise(kept):
        if gaps[index] > gaps[last] and slices[index] > slices[last]:  # a gap inside a slice is thinner than the line
            runs.append([])
        runs[-1].append(index)
    return runs


def polyline(points: Sequence[tuple[float, float]]) -> str:
    """One point alone is a small ring."""
    (x, y), *rest = points
    if not rest:
        return f"M{x - 2:.1f},{y:.1f}a2,2 0 1,0 4,0a2,2 0 1,0 -4,0"
    return f"M{x:.1f},{y:.1f}L" + " ".join(f"{x:.1f},{y:.1f}" for x, y in rest)


def strip(axes: Axes, start: float, end: float, about: Sequence[str]) -> str:
    size = f'x="{axes.x(start):.1f}" y="0" width="{axes.x(end) - axes.x(start):.1f}" height="{PLOT_HEIGHT}"'
    return f'<rect class="hover" {size}>{title(chr(10).join(about))}</rect>'


def empty_chart(label: str, what: str, left_out: int) -> str:
    box = f'<rect class="frame" x="0.5" y="0.5" width="{WIDTH - 1}" height="71" rx="4"/>'
    text = f"{clean(label)}: {what}" + (f", {_left_out(left_out)}" if left_out else "")
    lines = wrapped(text, WIDTH - 32)[:3]
    parts = [
        text_at(WIDTH / 2, 41 + ROW * (i - (len(lines) - 1) / 2), line, anchor="middle") for i, line in enumerate(lines)
    ]
    return svg(label, 0, [box, *parts], 72, "", 0)


def _left_out(count: int) -> str:
    return f"{count} left out: not finite"


def svg(label: str, rise: float, parts: Sequence[str], bottom: float, note: str, left_out: int) -> str:
    """The parts from -rise to bottom, and below what is said about values that are not drawn."""
    notes = ". ".join(part for part in (note, _left_out(left_out) if left_out else "") if part)
    lines = wrapped(notes, WIDTH)
    below = [text_at(WIDTH, bottom + 14 + ROW * index, line, anchor="end") for index, line in enumerate(lines)]
    height = rise + bottom + ROW * len(lines) + 4
    return (
        f'<svg class="chart" viewBox="0 {-rise:.0f} {WIDTH:.0f} {height:.0f}" role="img" '
        f'aria-label="{html.escape(clean(label))}">{"".join([*parts, *below])}</svg>'
    )


def _exponent(text: str) -> str:
    mantissa, mark, power = text.partition("e")
    return (f"{mantissa}e{int(power)}" if mark else mantissa).replace("-", "−")


def _char_width(char: str) -> float:
    if char in "ijlI|.,:;'!()[] ft/·" + THIN_SPACE:
        return 0.40
    if char in "mwMW@%—…":
        return 1.0
    if unicodedata.east_asian_width(char) in "WF" or (char.isalpha() and ord(char) > 0x2000):
        return 1.1
    return 0.76 if char.isupper() or char in "+±=<>~−" else 0.64
