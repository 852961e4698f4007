"""Intervals of shares against published values and against their promise."""

from __future__ import annotations

import numpy as np
import pytest

from sacvit.profiles.tuning.objects.intervals import bootstrap_mean, wilson


@pytest.mark.parametrize(
    ("right", "count", "ends"),
    [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0.0, 0.1611)), (1, 29, (0.0061, 0.1718))],
)
def test_the_score_interval_is_newcombe_s_example(right, count, ends):
    """Statistics in Medicine 17, 1998, 857-872, table I, method 3; four digits are printed there."""
    assert wilson(right, count) == pytest.approx(ends, abs=5e-5)


def test_where_all_are_right_the_interval_still_has_a_width():
    low, high = wilson(10, 10)
    assert high == 1.0 and low < 0.75


@pytest.mark.programs
def test_the_mean_of_a_sample_lies_inside_95_of_100_times():
    rng = np.random.default_rng(0)
    ends = [bootstrap_mean(rng.beta(0.4, 0.2, 150), seed) for seed in range(100)]
    assert 88 <= sum(low <= 2 / 3 <= high for low, high in ends) <= 100  # 95 +- 3 standard deviations of 2.2
