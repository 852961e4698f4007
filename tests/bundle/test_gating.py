"""One rule of who exits, for the runtime, the guards, the training and the tuning."""

from __future__ import annotations

import numpy as np
import pytest

from sacvit.bundle.gating import confidence_of, may_exit


@pytest.mark.parametrize(
    ("threshold", "confidence", "exits"),
    [(0.7, 0.7, True), (0.7, 0.69, False), (0.0, 0.0, True), (1.0, 1.0, False), (0.5, float("nan"), False)],
)
def test_an_image_exits_from_the_threshold_on_but_never_at_one(
    threshold: float, confidence: float, exits: bool
) -> None:
    assert may_exit(np.array([confidence], np.float32), threshold).tolist() == [exits]


def test_a_threshold_that_fp32_rounds_to_one_is_one() -> None:
    assert not may_exit(np.array([1.0], np.float32), 1 - 1e-12).any()


def test_confidences_in_double_precision_are_compared_in_fp32() -> None:
    assert may_exit(np.array([0.1]), 0.1).all()  # the FP32 number nearest to 0.1 lies above it


def test_each_image_may_have_a_threshold_of_its_own() -> None:
    found = may_exit(np.array([0.6, 0.6, 1.0], np.float32), np.array([0.5, 0.7, 1.0], np.float32))
    assert found.tolist() == [True, False, False]


def test_confidence_is_the_largest_softmax_probability() -> None:
    logits = np.array([[np.log(3.0), 0.0], [0.0, 0.0]], np.float32)
    np.testing.assert_allclose(confidence_of(logits), [0.75, 0.5], atol=1e-7)


def test_a_temperature_of_two_halves_the_logits() -> None:
    logits = np.array([[4.0, 0.0]], np.float32)
    np.testing.assert_allclose(confidence_of(logits, 2.0), 1 / (1 + np.exp(-2.0)), atol=1e-7)
