"""Intervals that hold what they promise, and a self-deception that theory knows."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sacvit.profiles.tuning.curve import Judged, most_accurate
from sacvit.profiles.tuning.resampling import intervals, self_deception


def pair(seed: int, count: int, right: float) -> Judged:
    """EE and SAC right with the same probability, independently, and a confidence that knows nothing."""
    rng = np.random.default_rng(seed)
    no, ms = np.zeros(count, bool), np.ones(count, np.float32)
    return Judged(
        rng.random(count, np.float32), rng.random(count) < right, rng.random(count) < right, no, no, ms, ms
    )  # fmt: skip


@pytest.mark.parametrize(("half", "right"), [(100, 0.8), (400, 0.5)])
def test_self_deception_is_the_maximum_of_a_random_walk(half, right):
    """Each exit adds -1, 0 or 1 to the right answers, with variance v = 2 q (1 - q): the best of n prefixes is on average
    sqrt(2 n v / pi) - 1/2 above none, of which nothing is left on other images.

    12 %: over 40 pairs the mean scatters by 4 %, and 1/2 is the first correction of many.
    """
    found = np.mean([self_deception(pair(seed, 2 * half, right), most_accurate, seed) for seed in range(40)])
    leading = math.sqrt(2 * right * (1 - right)) * math.sqrt(2 * half / math.pi) / half
    assert found == pytest.approx(leading - 0.5 / half, rel=0.12)


def test_a_rule_that_looks_at_nothing_deceives_nobody():
    """1 %: a half of 400 scatters by 2 points, two halves by 2.8, 5 pairs and 100 splits take that to 0.13."""
    found = np.mean([self_deception(pair(seed, 800, 0.8), lambda curve: 100, seed) for seed in range(5)])
    assert found == pytest.approx(0, abs=0.01)


def test_a_rule_that_finds_nothing_deceives_nobody():
    assert self_deception(pair(0, 40, 0.8), lambda curve: None) == 0.0


def test_self_deception_is_the_same_when_asked_twice():
    judged = pair(0, 200, 0.8)
    assert self_deception(judged, most_accurate) == self_deception(judged, most_accurate)


def test_an_interval_holds_the_true_mean_in_95_of_100_cases():
    """88 to 100 %: of 150 cases the share scatters by 1.8 points, and percentile intervals are a little narrow."""
    rng = np.random.default_rng(5)
    held = [
        low <= 0.8 <= high
        for low, high in (intervals({"top1": rng.random(200) < 0.8}, seed)["top1"] for seed in range(150))
    ]
    assert 0.88 <= np.mean(held) <= 1


def test_an_interval_is_as_wide_as_the_standard_error_says():
    # 6 %: a width of 500 resamples scatters by 4 %, the mean of ten by 1.4 %.
    column = np.random.default_rng(1).normal(0, 1, 1000)
    widths = [high - low for low, high in (intervals({"ms": column}, seed)["ms"] for seed in range(10))]
    assert np.mean(widths) == pytest.approx(2 * 1.96 * column.std() / math.sqrt(1000), rel=0.06)


def test_columns_are_resampled_together():
    column = np.random.default_rng(2).random(50)
    found = intervals({"a": column, "b": 1 - column})
    assert found["a"][0] == pytest.approx(1 - found["b"][1], abs=1e-12)


def test_a_column_without_spread_has_an_interval_without_width():
    assert intervals({"top1": np.ones(10, bool)})["top1"] == (1.0, 1.0)
