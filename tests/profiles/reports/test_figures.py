"""Figures as inline SVG: what they show, and that no input breaks them or the page around them."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sacvit.profiles.reports import figures
from sacvit.profiles.reports.drawable import Line, shortened
from sacvit.profiles.reports.figures import (
    Band,
    Bar,
    Point,
    bars,
    histogram,
    lines,
    trade_off,
)
from sacvit.profiles.reports.svg import PHONE, render
from sacvit.runtime.percentiles import percentile

pytest.importorskip("matplotlib")
SVG = "{http://www.w3.org/2000/svg}"


def parts(figure: str) -> list[ET.Element]:
    """The SVGs of a figure: the wide one, the narrow one."""
    return list(ET.fromstring(f"<figure>{figure}</figure>"))


def texts(figure: str) -> list[str]:
    return ["".join(text.itertext()) for text in parts(figure)[0].iter(f"{SVG}text")]


def curve_of(figure: str, colour: str) -> list[tuple[float, float]]:
    """The points of the longest path in a colour."""
    found = [
        re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", path.get("d", ""))
        for path in parts(figure)[0].iter(f"{SVG}path")
        if f"stroke: var(--{colour})" in path.get("style", "") and "fill: none" in path.get("style", "")
    ]
    return [(float(x), float(y)) for x, y in max(found, key=len)]


def all_figures(name: str, values: list[float]) -> list[str]:
    """One of each kind with that name at every place, in the narrow size: in the other the same is drawn."""
    first = values[0] if values else math.nan
    line = Line(name, list(range(len(values))), values)
    rows = [Bar(name, value, first, name) for value in values] + [Bar(name, None, None, name)]
    points = [Point(name, value, first, value, first, 1) for value in values]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "render", lambda label, draw, height, *_: render(label, draw, height, PHONE))
        return [
            histogram(name, [(name, values), ("b", values[:2])], name),
            lines(name, [line], name, name, [Band(first, 2.0, name)], (first, name), (first, name)),
            bars(name, rows, name),
            trade_off(name, [line, Line("b", values, values)], points, name, name, name, lambda tick: name),
        ]


NAMES = st.text(st.one_of(st.sampled_from("<>&\"'$_\\{}\x00\n\ud800\u202e漢"), st.characters()), max_size=60)
NASTY = [math.nan, math.inf, -math.inf, 1e308, -1e308, 1e12, -1e12, 5e-324, 1e-12, 0.0, -0.0]
VALUES = st.lists(st.one_of(st.floats(), st.floats(0, 100), st.sampled_from(NASTY)), max_size=8)


@settings(max_examples=3)
@example("_hidden $\\frac{1}{2", [0.0, 1e12])
@example("", NASTY)
@given(NAMES, VALUES)
def test_any_input_gives_well_formed_svg(name, values):
    for figure in all_figures(name, values):
        for svg in parts(figure):
            assert svg.get("role") == "img" and svg.get("aria-label") is not None
            assert not re.search(r"\b(nan|inf)\b", " ".join(path.get("d", "") for path in svg.iter(f"{SVG}path")))


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "$\\frac{1}{", "_private", "a\x00b\x1bc"])
def test_a_name_from_outside_is_a_text_and_nothing_else(name):
    found = all_figures(name, [1.0, 2.0])
    assert all("<script" not in figure and shortened(name).strip() in " ".join(texts(figure)) for figure in found)


@pytest.fixture(scope="module")
def drawn() -> list[str]:
    return all_figures("a", [1.0, 2.0, 3.0])


def test_a_figure_has_the_page_s_colours_and_no_size_script_or_address(drawn):
    for figure in drawn:
        assert not re.search(r": #[0-9a-f]{6}|<script|on\w+=|https?:(?!//www\.w3\.org/)|width=\"[\d.]+pt", figure)


def test_two_figures_on_one_page_share_no_id():
    one, other = (lines("l", [Line("a", [0, 1], [1, top])], "x", "y") for top in (2, 3))
    ids = [set(re.findall(r'id="([^"]*)"', figure)) for figure in (one, other)]
    assert ids[0] and not ids[0] & ids[1]


def test_every_reference_has_its_target(drawn):
    for figure in drawn:
        wanted = set(re.findall(r'(?:href="|url\()#([^")]*)', figure))
        assert wanted and wanted <= set(re.findall(r'id="([^"]*)"', figure))


def test_the_same_input_gives_the_same_bytes():
    first, second = (histogram("l", [("a", [1.0, 2.0])], "ms") for _ in range(2))
    assert first and first == second


def test_a_figure_without_a_value_is_empty():
    assert histogram("l", [("a", [math.nan])], "ms") == lines("l", [], "x", "y") == bars("l", [], "mJ") == ""
    assert trade_off("l", [Line("a", [], [])], [], "x", "y", "t", str) == ""


def test_the_histogram_s_legend_has_the_table_s_median_and_99th_percentile():
    values = np.random.default_rng(0).gamma(2.0, 3.0, 500)
    (legend,) = [text for text in texts(histogram("l", [("exit path", values)], "ms")) if "median" in text]
    p99 = percentile(values.tolist(), 99)
    assert legend == f"exit path: median {np.median(values):.3g}, p99 {p99:.3g} ms, n = 500"


@pytest.fixture
def flat():
    """A trade-off of 6 points of top-1 with three points close together and a plain ViT far below."""
    x = np.linspace(60, 130, 50)
    curve = Line("every threshold", x, 94 - 6 * ((x - 60) / 70) ** 4)
    points = [Point(f"p{at}", at, 93.5, 92.0, 95.0, 1 + place) for place, at in enumerate((90, 92, 100))]
    return curve, [*points, Point("plain ViT", 107, 48.0, 48.0, 48.0, 5)]


def test_the_trade_off_fills_its_axes_though_a_point_is_far_away(flat):
    figure = trade_off("l", [flat[0]], flat[1], "images per second", "top-1 %", "ms", str)
    height = float(parts(figure)[0].get("viewBox", "").split()[3])
    ys = [y for _, y in curve_of(figure, "series-1")]
    assert max(ys) - min(ys) > 0.4 * height
    assert "plain ViT (outside this figure)" in texts(figure)


def test_the_upper_axis_names_the_ticks_of_the_lower_one(flat):
    figure = trade_off("l", [flat[0]], [], "images per second", "top-1 %", "ms", lambda tick: f"{1e3 / tick:.3g} ms")
    assert {"80", "12.5 ms"} <= set(texts(figure))


def test_bars_are_as_long_as_their_values():
    figure = bars("l", [Bar("a", 1.0, None, "1"), Bar("b", 4.0, None, "4")], "mJ")
    boxes = [
        [float(x) for x, _ in re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", path.get("d", ""))]
        for path in parts(figure)[0].iter(f"{SVG}path")
        if "fill: var(--series-1)" in path.get("style", "")
    ]
    widths = [max(xs) - min(xs) for xs in boxes]
    assert widths[1] == pytest.approx(4 * widths[0], rel=0.01)


def test_the_axes_leave_room_for_long_names():
    (svg, _) = parts(bars("l", [Bar("a name of twenty-six signs", 1.0, None, "1")], "mJ"))
    (bar,) = [path for path in svg.iter(f"{SVG}path") if "fill: var(--series-1)" in path.get("style", "")]
    begins = min(float(x) for x, _ in re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", bar.get("d", "")))
    assert begins > 26 * 4  # a sign has 10 points in height; matplotlib's own margin is 77 points


def test_a_bar_without_a_value_has_its_reason():
    assert {"Nano", "no rails were read"} <= set(
        texts(bars("l", [Bar("Nano", None, None, "no rails were read")], "mJ"))
    )


def test_a_long_line_keeps_its_peak():
    y = np.zeros(100_000)
    y[54_321], y[54_330] = 50.0, math.nan
    ys = [y for _, y in curve_of(lines("l", [Line("", np.arange(100_000), y)], "x", "W"), "series-1")]
    assert len(ys) <= 2000 and max(ys) - min(ys) > 100


def test_numbers_of_samples_have_no_halves():
    shown = texts(lines("a", [Line("a", range(18), range(100, 118))], "sample", "W"))
    assert shown[: shown.index("sample")] == ["0", "5", "10", "15"]


def test_a_value_that_is_not_finite_parts_the_line():
    figure = lines("l", [Line("", [1, 2, 3, 4, 5], [1, 2, math.nan, 2, 1])], "x", "y")
    paths = [path.get("d", "") for path in parts(figure)[0].iter(f"{SVG}path") if "series-1" in path.get("style", "")]
    assert max(path.count("M") for path in paths) == 2


def test_a_line_with_more_places_than_values_is_refused_by_name():
    with pytest.raises(ValueError, match="VDD_IN has 3 places and 2 values"):
        lines("l", [Line("VDD_IN", [0, 1, 2], [1, 2])], "x", "W")
