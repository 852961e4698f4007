"""The threshold that is fitted to an engine on the reference answers."""

from __future__ import annotations

import numpy as np
import pytest

from sacvit.calibration.decisions import Comparison, StageAnswers
from sacvit.export.choice.judge import fit_threshold

ETA = 0.7


def comparison(confidence: np.ndarray, variant: np.ndarray) -> Comparison:
    nothing = np.zeros(len(confidence))
    answers = StageAnswers(nothing.astype(int), nothing.astype(int), nothing, nothing)
    return Comparison(confidence.astype(np.float32), variant.astype(np.float32), nothing, answers, answers, None)


@pytest.fixture
def near() -> np.ndarray:
    """100 confidences, half of them near eta."""
    return np.concatenate([np.linspace(0.66, 0.74, 50), np.linspace(0.8, 1.0, 50)])


def test_an_engine_whose_confidences_are_lower_gets_the_threshold_at_which_as_many_exit(near):
    fitted = fit_threshold(comparison(near, near - 0.02), ETA, ETA)
    assert fitted is not None
    assert ((near - 0.02).astype(np.float32) >= np.float32(fitted)).sum() == (near >= ETA).sum()


def test_a_threshold_that_lets_as_many_exit_stays(near):
    assert fit_threshold(comparison(near, near), ETA, ETA) is None


def test_the_stored_threshold_of_a_variant_stays_where_it_fits(near):
    assert fit_threshold(comparison(near, near - 0.02), ETA, ETA - 0.02) is None


@pytest.mark.parametrize(("flips", "is_fitted"), [(5, False), (7, True)])
def test_flips_in_one_direction_fit_a_threshold_where_they_are_more_than_chance(flips, is_fitted):
    near = np.concatenate([np.linspace(0.2, 0.5, 50), np.linspace(0.701, 0.709, flips)])
    assert (fit_threshold(comparison(near, near - 0.05), ETA, ETA) is not None) is is_fitted


def test_as_many_flips_in_both_directions_fit_nothing():
    near = np.tile([0.69, 0.71], 50)
    assert fit_threshold(comparison(near, near[::-1].copy()), ETA, ETA) is None
