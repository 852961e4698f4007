from __future__ import annotations

import itertools

import pytest

from sacvit.runtime.sources.rhythm import GAPS, KNOWN_GAPS, Rhythm


def watched(*gaps_s: float, fixed_s: float | None = None) -> Rhythm:
    rhythm = Rhythm(30.0, fixed_s)
    for now_s in itertools.accumulate(gaps_s, initial=0.0):
        rhythm.observe(now_s)
    return rhythm


@pytest.mark.parametrize(("period_s", "limit_s"), [(1 / 30, 1.0), (2.0, 6.0), (5.0, 15.0)])
def test_a_stream_may_be_silent_for_several_of_its_own_periods(period_s, limit_s):
    assert watched(*[period_s] * 10).limit_s == pytest.approx(limit_s)


def test_a_burst_at_the_start_does_not_pass_for_the_rate():
    """A server hands out the picture that it has, and the next one when it comes, 5 s later."""
    assert watched(0.01).limit_s == 30.0
    assert watched(0.01, *[5.0] * (KNOWN_GAPS - 1)).limit_s == 5 * GAPS


def test_bursts_of_segments_are_no_stalls():
    """HLS: six seconds of frames at once, then a pause of six seconds."""
    assert watched(*([0.001] * 180 + [6.0]) * 3, *[0.001] * 179).limit_s > 6.0


def test_one_hiccup_is_forgotten():
    assert watched(*[1 / 30] * 30, 0.9, *[1 / 30] * 30 * 60).limit_s == 1.0


def test_an_outage_is_no_gap_of_the_stream_s_own():
    rhythm = watched(*[0.1] * 10)
    rhythm.pause()
    rhythm.observe(600.0)
    assert rhythm.limit_s == 1.0


def test_the_user_s_limit_stands_and_is_named():
    rhythm = watched(*[0.1] * 10, fixed_s=7.0)
    assert rhythm.limit_s == 7.0 and rhythm.limit_source == "--stall-timeout-s"
