from __future__ import annotations

import re

import numpy as np
import pytest
from made_runs import write_log

from sacvit.profiles.beside_run.read_run import read_recorded
from sacvit.profiles.beside_run.timeline import draw_timeline, edges_of, latency_curves, rate_curves, series_curves


@pytest.fixture
def run(tmp_path):
    return read_recorded(write_log(tmp_path / "p.jsonl", 60, silent=range(20, 30)))


def ends_of(run):
    return run.frames.answered_s[0], run.frames.answered_s[-1]


def test_power_is_interrupted_where_readings_are_missing(run):
    for most in (2, 10_000):  # with pieces of the axis, and with single readings
        (curve, _) = series_curves({k: (s[:: most // most], w) for k, (s, w) in run.power_w.items()}, *ends_of(run))
        missing = np.isnan(curve.y)
        assert missing.any() and all(19.5 < x < 30.5 for x in curve.x[missing])


def test_a_short_series_is_drawn_reading_by_reading(tmp_path):
    short = read_recorded(write_log(tmp_path / "p.jsonl", 12, silent=range(4, 6)))
    curve = series_curves(short.power_w, *ends_of(short))[0]
    assert curve.low is None and np.isnan(curve.y).sum() == 1


def test_a_long_series_keeps_its_lowest_and_highest_reading(run):
    watts = run.power_w["VDD_IN"][1]
    watts[100], watts[101] = 9.0, 1.0
    curve = series_curves(run.power_w, *ends_of(run))[0]
    assert np.nanmax(curve.high) == 9.0 and np.nanmin(curve.low) == 1.0


def test_latency_is_drawn_for_each_path(run):
    curves = latency_curves(run, edges_of(60 * 30, 60.0))
    assert [curve.name for curve in curves] == ["exit, median", "exit, 95 %", "full, median", "full, 95 %"]
    assert [set(curve.y) for curve in curves] == [{6.0}, {6.0}, {15.0}, {15.0}]


def test_rates_are_frames_per_second_by_path(run):
    curves = rate_curves(run, edges_of(240, 60.0))
    assert {curve.name: round(float(curve.y.mean())) for curve in curves} == {"exit": 20, "full": 10, "all": 30}


def test_few_frames_are_not_cut_into_pieces_without_one():
    assert len(edges_of(45, 60.0)) - 1 == 2


@pytest.mark.usefixtures("report_packages")
def test_power_and_frames_share_one_time_axis(run):
    svg = draw_timeline(run, ("narrow",))
    texts = re.findall(r">([^<>]+)</text>", svg)
    assert {"W", "ms per frame", "frames per second", "°C"} <= set(texts)
    assert [text for text in texts if text.startswith("time")] == ["time (s)"]
    assert texts.count("40") == 1  # seconds: no other axis reaches it


@pytest.mark.usefixtures("report_packages")
def test_a_run_without_power_has_no_empty_panel(run):
    run.power_w, run.zones_c = {}, {}
    texts = re.findall(r">([^<>]+)</text>", draw_timeline(run, ("narrow",)))
    assert "W" not in texts and "°C" not in texts
