"""The fitted threshold lets as many through as FP32's does, whatever quantization did to the confidences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sacvit.calibration.decisions import Comparison, StageAnswers
from sacvit.calibration.threshold import lowest_for_top1, match_exit_rate, round_inside
from sacvit.runtime.chain.gate import Gate

shares = st.floats(0, 1, width=32)
thresholds = st.floats(0, 1)


def exits(confidence: np.ndarray, threshold: float) -> int:
    """How many images leave at the gate that will run."""
    row = np.zeros(len(confidence), np.int32)
    return len(confidence) - Gate(threshold).survivors(confidence, row)


@st.composite
def both_confidences(
    draw: st.DrawFn, variant: st.SearchStrategy[float], unique: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """FP32's, in which any may be equal, and as many of the variant's."""
    theirs = draw(st.lists(variant, min_size=1, max_size=20, unique=unique))
    mine = draw(st.lists(shares, min_size=len(theirs), max_size=len(theirs)))
    return np.float32(mine), np.float32(theirs)


@given(both=both_confidences(st.floats(0, 1, width=32, exclude_max=True), unique=True), threshold=thresholds)
def test_as_many_images_exit_as_before_where_no_two_confidences_are_equal(
    both: tuple[np.ndarray, np.ndarray], threshold: float
) -> None:
    confidence, variant = both
    assert exits(variant, match_exit_rate(confidence, threshold, variant)) == exits(confidence, threshold)


@given(both=both_confidences(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])), threshold=thresholds)
def test_where_equal_confidences_prevent_it_the_count_is_the_nearest_possible(
    both: tuple[np.ndarray, np.ndarray], threshold: float
) -> None:
    confidence, variant = both
    wanted = exits(confidence, threshold)
    possible = [exits(variant, eta) for eta in (0.0, 0.1, 0.3, 0.6, 0.9, 1.0)]
    found = exits(variant, match_exit_rate(confidence, threshold, variant))
    assert abs(found - wanted) == min(abs(count - wanted) for count in possible)


@given(both=both_confidences(shares | st.sampled_from([0.0, 1.0])), threshold=thresholds)
def test_the_threshold_lies_in_0_to_1(both: tuple[np.ndarray, np.ndarray], threshold: float) -> None:
    assert 0 <= match_exit_rate(both[0], threshold, both[1]) <= 1


@given(both=both_confidences(shares), threshold=thresholds)
def test_fitting_a_second_time_changes_nothing(both: tuple[np.ndarray, np.ndarray], threshold: float) -> None:
    confidence, variant = both
    eta = match_exit_rate(confidence, threshold, variant)
    assume(exits(variant, eta) == exits(confidence, threshold))
    assert match_exit_rate(variant, eta, variant) == eta


@given(confidence=st.lists(shares, min_size=1, max_size=30), threshold=thresholds)
def test_the_threshold_stays_exactly_where_it_fits_already(confidence: list[float], threshold: float) -> None:
    same = np.float32(confidence)
    assert match_exit_rate(same, threshold, same[::-1]) == threshold


def test_the_order_of_the_images_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    confidence, variant = (rng.uniform(0, 1, 100).astype(np.float32) for _ in range(2))
    shuffled = match_exit_rate(confidence, 0.6, rng.permutation(variant))
    assert shuffled == match_exit_rate(confidence, 0.6, variant)


def test_the_threshold_lies_halfway_between_the_neighbours() -> None:
    confidence = np.float32([0.9, 0.8, 0.1])
    assert match_exit_rate(confidence, 0.5, np.float32([0.4, 0.3, 0.2])) == 0.25


def test_where_none_shall_exit_the_threshold_lies_halfway_to_1() -> None:
    assert match_exit_rate(np.float32([0.3, 0.2]), 0.5, np.float32([0.6, 0.5])) == 0.8


@pytest.mark.parametrize(("threshold", "expected"), [(0.0, 3), (1.0, 0)])
def test_all_and_none_can_be_matched(threshold: float, expected: int) -> None:
    confidence, variant = np.float32([0.9, 0.8, 0.1]), np.float32([0.999999, 0.5, 1e-6])
    assert exits(variant, match_exit_rate(confidence, threshold, variant)) == expected


def test_all_exit_even_where_a_variant_is_not_sure_at_all() -> None:
    confidence, variant = np.float32([0.9, 0.8]), np.float32([0.0, 0.0])
    assert exits(variant, match_exit_rate(confidence, 0.5, variant)) == 2


def test_equal_confidences_leave_all_or_none() -> None:
    confidence = np.float32([0.9, 0.9, 0.1, 0.1, 0.1])
    same = np.full(5, 0.3, np.float32)
    assert exits(same, match_exit_rate(confidence, 0.5, same)) == 0  # two are wanted; none is nearer than five


def test_neighbours_that_fp32_hardly_tells_apart_are_parted() -> None:
    low = np.float32(0.6)
    variant = np.array([np.nextafter(low, np.float32(1)), low])
    assert exits(variant, match_exit_rate(np.float32([0.9, 0.1]), 0.5, variant)) == 1


@pytest.mark.parametrize("temperature", [0.5, 0.8, 1.25, 2.0])
def test_logits_of_a_known_temperature_give_back_the_threshold_that_theory_has(temperature: float) -> None:
    logit = np.random.default_rng(0).uniform(0, 6, 20_000)  # two classes: the difference of their logits
    confidence, variant = (1 / (1 + np.exp(-scaled)) for scaled in (logit, logit * temperature))
    eta = 0.8
    expected = 1 / (1 + np.exp(-temperature * np.log(eta / (1 - eta))))
    found = match_exit_rate(confidence.astype(np.float32), eta, variant.astype(np.float32))
    assert found == pytest.approx(expected, abs=1e-3)  # 20 000 images stand some 1e-4 apart, and three digits are kept


# Short numbers


@given(first=shares, second=shares)
def test_a_rounded_threshold_is_above_one_neighbour_and_not_above_the_other(first: float, second: float) -> None:
    below, above = sorted((first, second))
    assume(below < above)
    assert np.float32(below) < np.float32(round_inside(below, above)) <= np.float32(above)


@given(below=st.floats(0, 1, width=32, exclude_max=True))
def test_a_threshold_fits_between_any_two_neighbours_of_fp32(below: float) -> None:
    above = float(np.nextafter(np.float32(below), np.float32(1)))
    assert np.float32(round_inside(below, above)) == np.float32(above)


@pytest.mark.parametrize(
    ("below", "above", "expected"),
    [(0.2, 0.8, 0.5), (0.7301, 0.7318, 0.731), (0.7301, 0.7305, 0.7303), (0.73012, 0.73016, 0.73014)],
)
def test_a_threshold_has_no_more_digits_than_it_needs(below: float, above: float, expected: float) -> None:
    assert round_inside(below, above) == expected


# Accuracy


def labelled(confidence: list[float], ee_right: list[int], sac_right: list[int]) -> Comparison:
    """A variant that says class 1 where it is right; every label is 1."""
    count = len(confidence)
    zeros = np.zeros(count)
    answers = [StageAnswers(np.zeros(count, int), np.array(right), zeros, zeros) for right in (ee_right, sac_right)]
    return Comparison(
        confidence=np.zeros(count, np.float32),
        variant_confidence=np.float32(confidence),
        overlap=np.ones(count),
        ee=answers[0],
        sac=answers[1],
        labels=np.ones(count, np.int64),
    )


def test_the_lowest_threshold_that_reaches_the_goal_is_found() -> None:
    comparison = labelled([0.305, 0.605, 0.905], ee_right=[0, 0, 1], sac_right=[1, 1, 1])
    assert lowest_for_top1(comparison, 1.0) == 0.61


def test_a_lower_goal_gets_a_lower_threshold() -> None:
    comparison = labelled([0.305, 0.605, 0.905], ee_right=[0, 0, 1], sac_right=[1, 1, 1])
    assert lowest_for_top1(comparison, 2 / 3) == 0.31


def test_a_goal_that_ee_alone_reaches_needs_no_threshold() -> None:
    assert lowest_for_top1(labelled([0.3, 0.6], ee_right=[1, 1], sac_right=[0, 0]), 1.0) == 0


def test_a_goal_that_only_sac_reaches_needs_the_highest_threshold() -> None:
    assert lowest_for_top1(labelled([0.995, 0.6], ee_right=[0, 0], sac_right=[1, 1]), 1.0) == 1


def test_a_goal_that_no_threshold_reaches_has_none() -> None:
    assert lowest_for_top1(labelled([0.3, 0.6], ee_right=[1, 0], sac_right=[1, 0]), 0.75) is None


def test_the_variant_is_what_must_reach_the_goal() -> None:
    comparison = labelled([0.3, 0.6], ee_right=[1, 1], sac_right=[1, 1])  # FP32 is never right
    assert lowest_for_top1(comparison, 1.0) == 0


def test_a_variant_that_computes_nan_keeps_fp32s_threshold():
    """No threshold helps there; the guards say what is wrong."""
    confidence = np.linspace(0, 1, 5, dtype=np.float32)
    assert match_exit_rate(confidence, 0.5, np.full(5, np.nan, np.float32)) == 0.5
