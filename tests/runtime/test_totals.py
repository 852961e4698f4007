from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit.runtime.chain.result import Result
from sacvit.runtime.percentiles import percentile, summarise
from sacvit.runtime.totals import RunStatistics, summary_lines


def result(ee_ms: float, sac_ms: float | None) -> Result:
    return Result(0, "ant", 0.9, "EE" if sac_ms is None else "SAC", 0.9, (), ee_ms, sac_ms)


@pytest.mark.parametrize(("percent", "expected"), [(0, 1), (50, 50), (90, 90), (95, 95), (99, 99), (100, 100)])
def test_a_percentile_of_1_to_100_is_its_own_number(percent, expected):
    """trtexec's index, n - 1 - (1 - p) n, never below 0; (1 - 0.9) * 100 = 9.99.. counts as 10."""
    assert percentile(range(100, 0, -1), percent) == expected


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_percentiles_are_values_and_in_order(values):
    found = [percentile(values, percent) for percent in (50, 90, 95, 99)]
    assert set(found) <= set(values)
    assert found == sorted(found)


def test_no_values_have_no_percentiles():
    assert summarise([]) == {"n": 0}


def test_paths_add_up_what_a_frame_waited_for():
    statistics = RunStatistics()
    statistics.add(1.0, 15.0, result(10.0, None))
    statistics.add(2.0, 55.0, result(10.0, 30.0))
    summary = statistics.summary(duration_s=0.5)
    assert summary["frames"] == 2 and summary["exits"] == 1 and summary["exit_rate"] == 0.5
    assert summary["fps"] == 4.0
    assert summary["paths"]["exit"]["median_ms"] == 11.0
    assert summary["paths"]["full"]["median_ms"] == 42.0
    assert summary["stages"]["SAC"]["n"] == 1


def test_the_summary_shows_how_old_frames_were_at_their_answers():
    statistics = RunStatistics()
    for age_ms in (20.0, 30.0, 70.0):
        statistics.add(1.0, age_ms, result(10.0, None))
    summary = statistics.summary(1.0) | {"dropped": 0, "skipped": 0}
    assert summary["frame"]["age"]["median_ms"] == 30.0 and summary["frame"]["age"]["p95_ms"] == 70.0
    assert summary_lines(summary)[-1].split()[:3] == ["age", "3", "30.00"]


def test_a_camera_may_run_for_months(monkeypatch):
    monkeypatch.setattr("sacvit.runtime.totals.KEPT_FRAMES", 10)
    statistics = RunStatistics()
    for number in range(25):
        statistics.add(0.0, 0.0, result(float(number), None))
    summary = statistics.summary(1.0)
    assert summary["frames"] == summary["exits"] == 25
    assert summary["stages"]["EE"] | {"n": 10, "median_ms": 19.5} == summary["stages"]["EE"]  # of the last ten


def test_a_run_without_frames_has_a_summary():
    summary = RunStatistics().summary(0.1) | {"dropped": 0, "skipped": 0}
    assert summary_lines(summary)[0].startswith("0 frames")


def test_an_answer_that_the_deadline_degraded_is_no_exit():
    statistics = RunStatistics()
    statistics.add(1.0, 15.0, replace(result(10.0, None), degraded=True))
    statistics.add(1.0, 15.0, result(10.0, None))
    summary = statistics.summary(duration_s=1.0)
    assert (summary["exits"], summary["exit_rate"], summary["live"]["degraded"]) == (1, 0.5, 1)
