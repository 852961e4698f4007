from __future__ import annotations

import math

import pytest

from sacvit.profiles.results.spread import Interval, interval_of, ratio_interval


def test_the_interval_is_students_of_the_rounds_around_the_value():
    """Three rounds: 4.303 standard errors."""
    found = interval_of(10.0, [9.0, 10.0, 11.0])
    assert found.low == pytest.approx(10 - 4.303 / math.sqrt(3), abs=1e-3) and found.high == pytest.approx(
        20 - found.low
    )


def test_what_may_be_wrong_in_all_rounds_alike_is_added():
    assert interval_of(10.0, [10.0, 10.0], bound=0.5) == Interval(10.0, 9.5, 10.5)


@pytest.mark.parametrize(("rounds", "bound"), [([10.0], 0.0), ([10.0, 11.0], None)])
def test_one_round_or_an_unknown_bound_leaves_the_interval_open(rounds, bound):
    found = interval_of(10.0, rounds, bound)
    assert (found.low, found.high, found.text(".2f")) == (None, None, "?")
    assert not found.lies_above(0.0) and not found.lies_below(100.0) and not found.covers(0.0, 1.0)


def test_the_interval_of_a_ratio_is_symmetric_on_its_logarithm():
    found = ratio_interval(2.0, [1.6, 2.0, 2.5])
    assert found.low * found.high == pytest.approx(4.0)


def test_above_below_and_cover_are_of_the_whole_interval():
    found = Interval(1.3, 1.1, 1.5)
    assert found.lies_above(1.0) and not found.lies_above(1.2)
    assert found.lies_below(1.6) and not found.lies_below(1.4)
    assert found.covers(1.2, 1.4) and not found.covers(1.0, 1.4)
    assert found.text(".1f") == "1.1 to 1.5"
