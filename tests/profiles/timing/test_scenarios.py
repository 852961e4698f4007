from __future__ import annotations

import pytest

from sacvit.profiles.timing.scenarios import early_stopping_ms, judge, most_discarded


@pytest.mark.parametrize(("queries", "discarded"), [(2048, 172), (2116, 178), (2145, 181), (7469, 685)])
def test_as_many_queries_are_discarded_as_in_loadgen_s_own_logs(queries, discarded):
    """Public logs: "Processed at least 64 queries (2048). Would discard 172 highest latency queries."."""
    assert most_discarded(queries) == discarded


def test_64_queries_are_the_least():
    assert most_discarded(63) is None and most_discarded(64) == 0


def test_the_estimate_is_the_largest_that_is_left():
    assert early_stopping_ms([float(value) for value in range(2048)]) == 2047 - 172


def test_a_run_that_breaks_no_rule_says_so():
    told = judge("single-stream", [1.0] * 700, images=700, duration_s=601.0)
    assert told["not_kept"] == [] and told["value"] == 1.0


def test_a_run_that_is_too_short_is_told_and_never_called_mlperf():
    told = judge("offline", [1.0] * 10, images=640, duration_s=3.0)
    assert told["not_kept"] == ["3 s; the rules ask for 600", "640 images; the rules ask for 24576"]
    assert told["value"] == pytest.approx(213.333) and told["note"].startswith("not a result of MLPerf")


def test_too_few_queries_have_no_estimate():
    told = judge("single-stream", [1.0] * 63, images=63, duration_s=700.0)
    assert told["value"] is None and "64 are the least" in told["not_kept"][-1]
