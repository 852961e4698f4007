from __future__ import annotations

import math
import re
import time
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from sacvit.profiles.reports.charts import (
    CHART_CSS,
    Band,
    Bar,
    Line,
    Mark,
    Series,
    bars,
    curves,
    histogram,
    sparkline,
    timeline,
)
from sacvit.profiles.reports.scales import (
    exact,
    fixed,
    number,
    prefixed,
    pushed_apart,
    range_of,
    shortened,
    step_of,
    text_width,
    tick_texts,
    ticks_in,
    with_error,
)

PLACE = 0.06  # coordinates are written with one decimal
NUMBER = r"-?\d+(?:\.\d+)?"
RAILS = ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO", "total")


def marks(svg: str, name: str) -> list[ET.Element]:
    return [element for element in ET.fromstring(svg).iter() if name in element.get("class", "").split()]


def titles(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter("title")]


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter("text")]


def places(steps: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(rf"({NUMBER}),({NUMBER})", steps)]


def x_scale(svg: str, low: str, high: str):
    """From a value to its place, read off two tick texts."""
    at = {element.text: float(element.get("x")) for element in ET.fromstring(svg).iter("text")}
    start, end = at[low], at[high]
    return lambda value: start + (value - float(low)) / (float(high) - float(low)) * (end - start)


def boxes(svg: str) -> list[tuple[str, float, float, float, float]]:
    """Each text with its left, top, right, bottom, as large as it may be drawn."""
    found = []
    for element in ET.fromstring(svg).iter("text"):
        width, x, y = text_width(element.text or ""), float(element.get("x")), float(element.get("y"))
        left = x - width * {"start": 0, "middle": 0.5, "end": 1}[element.get("text-anchor")]
        found.append((element.text, left, y - 11, left + width, y + 3))
    return found


def assert_texts_have_room(svg: str) -> None:
    left, top, width, height = map(float, ET.fromstring(svg).get("viewBox").split())
    found = boxes(svg)
    for text, x0, y0, x1, y1 in found:
        assert left - 1 <= x0 and x1 <= left + width + 1 and top <= y0 and y1 <= top + height, text
    for index, (text, x0, y0, x1, y1) in enumerate(found):
        for other, u0, v0, u1, v1 in found[index + 1 :]:
            assert not (x0 < u1 and u0 < x1 and y0 < v1 and v0 < y1), (text, other)


def bimodal() -> list[Series]:
    random = np.random.default_rng(0)
    full = np.concatenate([random.normal(8.4, 0.1, 200), [30.0, 40.0]])
    return [Series("exit", random.normal(3, 0.1, 700)), Series("full", full)]


# histogram


def test_histogram_counts_and_those_beyond_add_up_to_the_frames():
    random = np.random.default_rng(0)
    svg = histogram([Series("a", random.lognormal(1, 0.6, 5000)), Series("b", random.lognormal(1, 1, 3000))], "ms", "L")
    told = "\n".join(titles(svg))
    counted = sum(int(count) for count in re.findall(r"^[ab]: (\d+) of \d+ frames$", told, re.M))
    beyond = next(int(text.split()[0]) for text in texts(svg) if " beyond " in text)
    assert beyond > 0 and counted + beyond == 8000


def test_the_text_says_how_many_lie_beyond_which_latency():
    svg = histogram([Series("a", [*np.linspace(1, 2, 1000), 90.0, 95.5])], "ms", "L")
    beyond = next(text for text in texts(svg) if " beyond " in text)
    assert beyond == "2 beyond 2.00 ms, up to 95.5 ms"


def test_a_short_tail_is_drawn_whole():
    svg = histogram([Series("a", [*np.linspace(1, 2, 1000), 2.15])], "ms", "L")
    assert not any("beyond" in text for text in texts(svg))


def test_a_bars_height_is_its_share_of_its_own_series():
    svg = histogram([Series("few", [1.0, 2.0]), Series("many", [1.0] * 50 + [2.0] * 50)], "ms", "L")
    few, many = (places(mark.get("d").replace("V", "V0,")) for mark in marks(svg, "area"))
    assert few == many and len(few) > 2


def test_median_and_p99_stand_at_their_latencies():
    values = np.linspace(10, 20, 1001)
    svg = histogram([Series("a", values)], "ms", "L")
    x = x_scale(svg, "10", "20")
    for kind, at in (("median", 15.0), ("p99", 19.9)):
        ((place, _),) = places(marks(svg, kind)[0].get("d"))
        assert place == pytest.approx(x(at), abs=2 * PLACE)
    assert {"median 15.0", "p99 19.9"} <= set(texts(svg))


def test_no_marker_runs_through_the_text_of_another():
    random = np.random.default_rng(2)
    for _ in range(30):
        series = [Series(f"path {i}", random.normal(random.uniform(3, 6), 0.2, 200)) for i in range(4)]
        svg = histogram(series, "ms", "L")
        assert_texts_have_room(svg)
        labels = [box for box in boxes(svg) if re.search(r"median|p99", box[0])]
        for mark in marks(svg, "median") + marks(svg, "p99"):
            x, top = re.match(rf"M({NUMBER}),{NUMBER}V({NUMBER})", mark.get("d")).groups()
            for text, x0, _, x1, y1 in labels:
                assert not (x0 + 1 < float(x) < x1 - 1 and float(top) < y1 - 3), text


def test_a_million_latencies_take_less_than_two_seconds():
    values = np.random.default_rng(0).lognormal(1, 0.5, 1_000_000)
    began = time.perf_counter()
    svg = histogram([Series("a", values)], "ms", "L")
    assert time.perf_counter() - began < 2  # about 0.3 s on a desktop
    assert len(svg) < 60_000


def test_a_small_group_far_from_the_rest_is_drawn():
    svg = histogram(bimodal(), "ms", "L")
    assert any(re.search(r"^exit: 0 .*\nfull: [1-9]", title, re.M) for title in titles(svg))


# timeline


def test_a_gap_in_the_samples_is_not_bridged():
    whole, times = np.arange(0, 10, 0.1), np.concatenate([np.arange(0, 4, 0.1), np.arange(6, 10, 0.1)])
    for x, parts in ((whole, 1), (times, 2)):
        (line,) = marks(timeline([Line("a", x, np.ones(len(x)))], [], "W", "P"), "line")[:1]
        assert line.get("d").count("M") == parts
    (line,) = marks(timeline([Line("a", times, np.ones(len(times)))], [], "W", "P"), "line")[:1]
    before, after = (places(run) for run in line.get("d").split("M")[1:])
    assert after[0][0] - before[-1][0] > 0.19 * (after[-1][0] - before[0][0])  # 2.1 s of 9.9 s


def test_a_gap_is_not_bridged_among_many_samples():
    x = np.concatenate([np.arange(0, 40, 0.001), np.arange(60, 100, 0.001)])
    line = marks(timeline([Line("a", x, np.sin(x))], [], "W", "P"), "line")[0]
    assert line.get("d").count("M") == 2


def test_five_intervals_are_no_gap_and_six_are():
    for jump, parts in ((4.9, 1), (6.0, 2)):
        x = [0, 1, 2, 3, 3 + jump, 4 + jump, 5 + jump]
        assert marks(timeline([Line("a", x, [1] * 7)], [], "W", "P"), "line")[0].get("d").count("M") == parts


def test_samples_out_of_order_are_drawn_by_time():
    line = marks(timeline([Line("a", [2, 0, 1], [5, 1, 3])], [], "W", "P"), "line")[0]
    xs, ys = zip(*places(line.get("d")), strict=True)
    assert list(xs) == sorted(xs) and list(ys) == sorted(ys, reverse=True)


def test_of_many_samples_a_line_keeps_at_most_800_and_every_spike():
    x, y = np.arange(100_000) / 10, np.full(100_000, 5.0)
    y[12_345], y[54_321] = 9.5, 0.5
    points = places(marks(timeline([Line("a", x, y)], [], "W", "P"), "line")[0].get("d"))
    ys = [place for _, place in points]
    assert len(points) <= 800
    assert min(ys) == pytest.approx(210 * 0.05, abs=PLACE) and max(ys) == pytest.approx(210 * 0.95, abs=PLACE)


def test_windows_stand_at_their_times_with_their_texts():
    svg = timeline(
        [Line("a", np.arange(0, 101.0), np.ones(101))], [Band(20, 40, "exit"), Band(60, 70, "full")], "W", "P"
    )
    x = x_scale(svg, "0", "100")
    spans = [(float(band.get("x")), float(band.get("width"))) for band in marks(svg, "band")]
    for (start, width), (low, high) in zip(spans, ((20, 40), (60, 70)), strict=True):
        assert start == pytest.approx(x(low), abs=PLACE) and width == pytest.approx(x(high) - x(low), abs=PLACE)
    assert {"exit", "full"} <= set(texts(svg))
    assert any("exit: 20 to 40 s, 20 s long" in title for title in titles(svg))


def test_windows_whose_names_do_not_fit_say_where_the_names_are():
    bands = [Band(3 * i, 3 * i + 2, f"a window of some length {i}") for i in range(30)]
    svg = timeline([Line("a", np.arange(0, 101.0), np.ones(101))], bands, "W", "P")
    assert "30 windows: their names show under the pointer" in texts(svg)
    assert not any("some length" in text for text in texts(svg))
    assert_texts_have_room(svg)


def test_names_of_lines_that_end_together_are_pushed_apart():
    x = np.arange(0, 120, 0.1)
    lines = [Line(name, x, np.full(len(x), 0.3 + 0.001 * i)) for i, name in enumerate(RAILS)]
    svg = timeline(lines, [Band(10 + 18 * i, 20 + 18 * i, f"gate 0.{i}") for i in range(6)], "W", "P")
    assert set(RAILS) <= set(texts(svg))
    assert_texts_have_room(svg)


def test_under_the_pointer_a_line_tells_its_value_and_its_window():
    svg = timeline([Line("VDD_IN", [0, 1, 2, 3], [4.0, 5.25, 6.0, 7.0])], [Band(0.8, 1.4, "full")], "W", "P")
    strips = [mark.find("title").text for mark in marks(svg, "hover")]
    assert any("full" in strip and "VDD_IN: 5.25 W" in strip for strip in strips)


def test_a_line_with_more_times_than_values_is_refused_by_name():
    with pytest.raises(ValueError, match="VDD_IN has 3 times and 2 values"):
        timeline([Line("VDD_IN", [0, 1, 2], [1, 2])], [], "W", "P")


# bars


def test_bars_are_as_long_as_their_values():
    values = [1.0, 2.5, 10.0, -4.0]
    svg = bars([Bar(f"b{value}", value) for value in values], "mJ", "E")
    lengths = [float(bar.get("width")) for bar in marks(svg, "bar")]
    assert lengths == pytest.approx([abs(value) / 10 * lengths[2] for value in values], abs=0.02)
    zero = x_scale(svg, "0", "10")(0)
    starts = [float(bar.get("x")) for bar in marks(svg, "bar")]
    assert starts[:3] == pytest.approx([zero] * 3, abs=PLACE)
    assert starts[3] + lengths[3] == pytest.approx(zero, abs=PLACE)


def test_error_bars_stand_at_low_and_high():
    svg = bars([Bar("a", 10.2, 9.3, 11.1)], "mJ", "E")
    x = x_scale(svg, "0", "10")
    low, high = re.match(rf"M({NUMBER}),.*H({NUMBER})m", marks(svg, "error")[0].get("d")).groups()
    assert float(low) == pytest.approx(x(9.3), abs=2 * PLACE) and float(high) == pytest.approx(x(11.1), abs=2 * PLACE)
    assert "10.2 ± 0.9 mJ" in texts(svg)


def test_a_bar_without_a_value_is_an_empty_row_with_its_reason():
    svg = bars([Bar("Orin", 4.0), Bar("Nano", None, reason="no rails were read")], "mJ", "E")
    assert len(marks(svg, "bar")) == 1
    assert {"Nano", "no rails were read"} <= set(texts(svg))


def test_reasons_alone_are_a_chart_without_an_axis():
    svg = bars([Bar("Nano", None, reason="no rails were read"), Bar("Orin", None)], "mJ", "E")
    assert texts(svg) == ["Nano", "no rails were read", "Orin", "not measured"]


def test_long_names_and_long_reasons_keep_clear_of_each_other():
    long = "build/agx_orin/a/folder/in/a/folder/in/a/folder/in/a/folder/which/goes/on/and/on/batch1_fp16_sac.plan"
    reason = (
        "JetPack 5 prints no rails to an unprivileged user: run tegrastats as root, or hand in a log with rails. " * 3
    )
    svg = bars(
        [Bar(long, 1234567.0, 1234000.0, 1235000.0), Bar("b", -2.0), Bar(long + "2", None, reason=reason)], "J", "E"
    )
    assert_texts_have_room(svg)
    assert any(title == long for title in titles(svg))  # what is shortened shows whole under the pointer


# curves


def test_points_and_marks_stand_at_their_values():
    lines = [Line("mean", [0.0, 0.5, 1.0], [2.0, 4.0, 8.0], [1.5, 3.0, 7.0], [2.5, 5.0, 9.0])]
    svg = curves(lines, "threshold", "latency (ms)", "S", Mark(0.7, "shipped"), Mark(9.9, "plain ViT"))
    x = x_scale(svg, "0.0", "1.0")
    points = [(float(mark.get("cx")), float(mark.get("cy"))) for mark in marks(svg, "point")]
    assert [place for place, _ in points] == pytest.approx([x(0), x(0.5), x(1)], abs=PLACE)
    assert [place for _, place in points] == pytest.approx([210 * (1 - v / 10) for v in (2, 4, 8)], abs=PLACE)
    vertical, horizontal = (mark.get("d") for mark in marks(svg, "mark")[:2])
    assert places(vertical)[0][0] == pytest.approx(x(0.7), abs=PLACE)
    assert places(horizontal)[0][1] == pytest.approx(210 * 0.01, abs=PLACE)
    assert {"shipped", "plain ViT", "mean"} <= set(texts(svg))
    low, high = re.match(rf"M{NUMBER},({NUMBER}).*V({NUMBER})m", marks(svg, "whisker")[1].get("d")).groups()
    assert (float(low), float(high)) == pytest.approx((210 * 0.7, 210 * 0.5), abs=PLACE)


def test_a_mark_beyond_the_lines_widens_the_axes():
    svg = curves([Line("a", [0, 1], [1, 2])], "x", "y", "S", Mark(5, "m"), Mark(40, "r"))
    (at, _), *_ = places(marks(svg, "mark")[0].get("d"))
    plot_end = max(float(mark.get("d").split("H")[1]) for mark in marks(svg, "grid"))
    assert max(float(mark.get("cx")) for mark in marks(svg, "point")) < at < plot_end
    assert_texts_have_room(svg)


def test_a_point_that_is_not_finite_parts_the_line_and_is_counted():
    svg = curves([Line("a", [1, 2, 3, 4, 5], [1, 2, math.nan, 2, 1])], "x", "y", "S")
    assert marks(svg, "line")[0].get("d").count("M") == 2
    assert "1 left out: not finite" in texts(svg)


def test_points_of_different_lines_tell_their_own_values():
    svg = curves([Line("p50", [0.7], [3.125]), Line("p99", [0.7], [9.5])], "threshold", "latency (ms)", "S")
    told = [group.find("title").text for group in ET.fromstring(svg).iter("g")]
    assert told == ["p50\nthreshold: 0.7\nlatency (ms): 3.125", "p99\nthreshold: 0.7\nlatency (ms): 9.5"]


# all


def test_empty_input_says_what_is_missing():
    assert texts(histogram([], "ms", "Latency")) == ["Latency: no values"]
    assert texts(histogram([Series("a", [math.nan, math.inf])], "ms", "Latency")) == [
        "Latency: no values, 2 left out: not finite"
    ]
    assert texts(timeline([Line("a", [], [])], [Band(0, 1, "w")], "W", "Power")) == ["Power: no samples"]
    assert texts(bars([], "mJ", "Energy")) == ["Energy: no rows"]
    assert texts(curves([], "x", "y", "Sweep")) == ["Sweep: no points"]


def test_values_that_are_not_finite_are_left_out_and_counted():
    bad = [math.nan, math.inf, -math.inf]
    note = "3 left out: not finite"
    assert note in texts(histogram([Series("a", [1.0, 2.0, *bad])], "ms", "L"))
    assert note in texts(timeline([Line("a", range(5), [1.0, 2.0, *bad])], [], "W", "P"))
    assert note in texts(bars([Bar("a", 1.0, *bad[:2]), Bar("b", bad[2])], "mJ", "E"))


def test_names_from_outside_are_escaped():
    name = "<script>alert('x')</script>&\"\x00\u202e"
    for svg in all_charts(name, [1.0, 2.0, 3.0]):
        assert "<script" not in svg and "\x00" not in svg and "\u202e" not in svg
        ET.fromstring(svg)
    assert "<script>alert('x')</script>&\"��" in texts(bars([Bar(name, 1.0)], "mJ", "E"))


def all_charts(name: str, values: list[float]) -> list[str]:
    times = list(range(len(values)))
    line = Line(name, times, values, values, values[::-1])
    first = values[0] if values else math.nan
    return [
        histogram([Series(name, values), Series("b", values[:2])], name, name),
        timeline([line, Line("b", values, times)], [Band(first, 2.0, name)], name, name),
        timeline([line], [], "mW", name),
        bars(
            [Bar(name, value, first, values[-1], name) for value in values] + [Bar(name, None, reason=name)], name, name
        ),
        curves([line, Line(name, values, times)], name, name, name, Mark(first, name), Mark(first, name)),
    ]


NAMES = st.text(st.one_of(st.sampled_from("<>&\"' ]\x00\n\ud800\ufffe漢é"), st.characters()), max_size=60)
VALUES = st.lists(
    st.one_of(
        st.floats(),
        st.floats(0, 100),
        st.sampled_from(
            [math.nan, math.inf, -math.inf, 1e308, -1e308, 1e150, -1e150, 5e-324, 1e-200, 0.0, -0.0, 1e9 + 1e-7]
        ),
    ),
    max_size=12,
)


@settings(max_examples=300, deadline=None)
@example("0000000000000000@@ⰀⰀ⺀", [1.0, 9.995e99])  # a wide unit under a narrow axis
@given(NAMES, VALUES)
def test_any_input_gives_well_formed_svg_within_its_frame(name, values):
    for svg in all_charts(name, values):
        root = ET.fromstring(svg)
        assert root.get("role") == "img" and root.get("aria-label") is not None
        _, top, width, height = map(float, root.get("viewBox").split())
        assert not re.search(
            r'[ "MLHV,](nan|inf)', re.sub(r"<title>.*?</title>|<text.*?</text>|aria-label=.*?>", "", svg, flags=re.S)
        )
        for text, x0, y0, x1, y1 in boxes(svg):
            assert x0 >= -1 and x1 <= width + 1 and top <= y0 and y1 <= top + height, text


def test_every_mark_tells_its_value():
    shown = ("line", "area", "bar", "band", "point", "median", "p99", "hover")
    swatches = re.compile(rf"M{NUMBER},{NUMBER}h11")
    for svg in all_charts("a", [1.0, 2.0, 4.0, 3.0]):
        parents = {child: parent for parent in ET.fromstring(svg).iter() for child in parent}
        for mark, parent in parents.items():
            if set(mark.get("class", "").split()) & set(shown) and not swatches.fullmatch(mark.get("d", "")):
                holder = parent if parent.tag == "g" else mark
                assert holder.find("title") is not None, ET.tostring(mark)


def test_texts_have_room_in_every_chart():
    x = [0.1 * i for i in range(11)]
    long = "a rather long name of a path that nobody should have given"
    charts = [
        histogram([*bimodal(), Series(long, [5.0, 5.1, 5.2])], "ms", long * 3),
        curves(
            [Line(f"batch {i}", x, [v * v + 0.01 * i for v in x]) for i in range(6)],
            long * 2,
            long * 2,
            "S",
            Mark(1, long),
        ),
        curves([Line(long, x, x)], "x", "y", "S", Mark(0.0, long), Mark(1.0, long)),
        bars([Bar("a", 3e-9), Bar("b", 2e-9, 1.5e-9, 4e-9)], "J", "E"),
        bars([Bar("a", -123456.0), Bar("b", 98765.0)], "frames", "E"),
        timeline([Line(long, [1e6, 1e6 + 1], [1e9, 2e9])], [Band(1e6, 1e6 + 0.1, long)], "things", "P"),
    ]
    for svg in charts:
        assert_texts_have_room(svg)


def test_charts_without_scripts_or_links():
    for svg in all_charts("a", [1.0, 2.0]):
        assert not re.search(r"script|href|url\(|http|on\w+=", svg)
    assert not re.search(r"url\(|@import|http", CHART_CSS)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_series_and_texts_stand_out_from_the_surface_in_both_themes():
    themes = [dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in CHART_CSS.split("@media screen")]
    assert len(themes) == 2 and themes[0].keys() == themes[1].keys()
    for theme in themes:
        for name, least in [*((f"series-{i}", 3.0) for i in range(1, 7)), ("ink", 7.0), ("muted", 4.5)]:
            for under in ("surface", "band"):
                dark, light = sorted((luminance(theme[name]), luminance(theme[under])))
                wanted = least if under == "surface" else least * 0.85  # a line on a band is seen beside it too
                assert (light + 0.05) / (dark + 0.05) >= wanted, (name, under)


# sparkline


def test_sparkline_goes_from_lowest_to_highest_block():
    assert sparkline(range(8)) == "▁▂▃▄▅▆▇█"
    assert sparkline([]) == ""
    assert sparkline([3.0, 3.0, 3.0]) == "▄▄▄"
    assert sparkline([1.0, math.nan, 2.0]) == "▁ █"
    assert sparkline([0.0] * 50 + [1.0] * 50, width=4) == "▁▁██"


@given(VALUES, st.integers(1, 30))
def test_sparkline_is_never_wider_than_asked(values, width):
    assert len(sparkline(values, width)) == min(width, len(values))


# scales


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.integers(2, 9))
def test_ticks_are_multiples_of_1_2_or_5(low, span, most):
    high = low + span
    assume(range_of([low, high]) == (low, high))  # others are widened first
    step = step_of(low, high, most)
    assert float(f"{step:e}"[0]) in (1, 2, 5) and float(f"{step:.6e}".split("e")[0]) in (1, 2, 5)
    ticks = ticks_in(low, high, step)
    assert len(ticks) <= most + 1
    assert all(b - a == pytest.approx(step, rel=1e-3) for a, b in pairwise(ticks))
    labels = tick_texts(ticks, step)
    assert len(set(labels)) == len(labels)


def test_ticks_are_written_without_rounding_errors():
    assert tick_texts(ticks_in(0, 0.5, 0.1), 0.1) == ["0.0", "0.1", "0.2", "0.3", "0.4", "0.5"]
    assert tick_texts(ticks_in(-2, 2, 2), 2) == ["−2", "0", "2"]
    assert tick_texts(ticks_in(0, 4e7, 2e7), 2e7) == ["0", "2e7", "4e7"]
    assert tick_texts(ticks_in(0, 4e-8, 2e-8), 2e-8) == ["0", "2e−8", "4e−8"]


def test_numbers_have_three_digits_and_readable_thousands():
    assert [number(v) for v in (10.24, 0.03117, 9.996, 1234.4, 56789, -2.5, 0)] == [
        "10.2", "0.0312", "10.0", "1234", "56\u202f789", "−2.50", "0",
    ]  # fmt: skip
    assert number(1.2e-9) == "1.20e−9" and fixed(1e6, 0) == "1\u202f000\u202f000"
    assert exact(0.1 + 0.2) == "0.3"


def test_an_error_sets_the_digits_of_its_value():
    assert with_error(10.23, 9.31, 11.15) == "10.2 ± 0.9"
    assert with_error(6.021, 6.009, 6.033) == "6.021 ± 0.012"
    assert with_error(13.4, 12.1, 16.9) == "13.4 (12.1–16.9)"
    assert with_error(5.0, 5.0, 5.0) == with_error(5.0) == "5.00"


def test_si_prefixes_follow_the_size_and_other_units_stay():
    assert prefixed("mW", 25_000) == (pytest.approx(1e-3), "W")
    assert prefixed("s", 2e-7) == (pytest.approx(1e9), "ns")
    assert prefixed("ms", 8.1) == (1, "ms")
    assert prefixed("s", 90_000)[1] == "s"
    assert prefixed("frames", 1e7) == (1, "frames")


def test_shortening_keeps_both_ends():
    short = shortened("VDD_" + "X" * 50 + "_MSS", 120)
    assert short.startswith("VDD") and short.endswith("MSS") and text_width(short) <= 120


@given(st.lists(st.floats(0, 200), min_size=1, max_size=12))
def test_places_are_pushed_apart_in_their_order(before):
    after = pushed_apart(before, 16, 0, 200)
    order = sorted(range(len(before)), key=lambda index: before[index])
    assert all(after[b] - after[a] >= 16 - 1e-6 for a, b in pairwise(order))
    assert all(-1e-6 <= place <= 200 + 1e-6 for place in after)
