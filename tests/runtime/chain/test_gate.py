from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit.bundle.errors import EngineError, UsageError
from sacvit.runtime.chain.gate import Gate

UNIT = st.floats(0, 1, width=32)


def survivors(threshold: float, confidence: list[float]) -> list[int]:
    row = np.full(len(confidence), -1, np.int32)
    count = Gate(threshold).survivors(np.array(confidence, np.float32), row)
    return row[:count].tolist()


def test_exits_when_confidence_equals_threshold():
    assert survivors(0.7, [np.float32(0.7)]) == []


def test_goes_on_just_below_the_threshold():
    assert survivors(0.7, [np.nextafter(np.float32(0.7), np.float32(0))]) == [0]


@given(UNIT, st.lists(UNIT, max_size=20))
def test_survivors_are_exactly_those_below_in_order(threshold, confidence):
    assert survivors(threshold, confidence) == [
        i for i, value in enumerate(confidence) if value < threshold or threshold == 1
    ]


def test_zero_lets_everything_exit():
    assert survivors(0.0, [0.0, 0.5, 1.0]) == []


def test_one_lets_no_image_exit_not_even_a_confidence_that_fp32_rounds_to_one():
    assert survivors(1.0, [1.0, np.nextafter(np.float32(1), np.float32(0))]) == [0, 1]


def test_the_threshold_may_be_set_between_two_calls():
    gate, row = Gate(0.5), np.zeros(1, np.int32)
    gate.threshold = 0.9
    assert gate.survivors(np.array([0.7], np.float32), row) == 1


def test_a_wrong_threshold_is_refused_when_it_is_set():
    gate = Gate(0.5)
    with pytest.raises(UsageError, match=r"found 1\.5"):
        gate.threshold = 1.5
    assert gate.threshold == 0.5


@pytest.mark.parametrize("threshold", [-0.01, 1.01, float("nan"), float("inf")])
def test_a_threshold_outside_the_unit_interval_is_refused(threshold):
    with pytest.raises(UsageError, match=r"must lie in \[0, 1\], found"):
        Gate(threshold)


def test_a_confidence_that_is_no_number_is_an_engine_fault():
    with pytest.raises(EngineError, match=r"image 1 of the batch .* NaN"):
        survivors(0.5, [0.9, float("nan")])


# A temperature


def calibrated(temperature: float, logits: list[list[float]], confidence: list[float]) -> np.ndarray:
    found = np.array(confidence, np.float32)
    Gate(0.5, temperature).calibrate(np.array(logits, np.float32), found)
    return found


def test_without_a_temperature_the_engine_s_own_confidence_stays():
    assert calibrated(1.0, [[3.0, 0.0]], [0.123]).tolist() == [np.float32(0.123)]


@given(
    st.lists(st.lists(st.floats(-20, 20, width=32), min_size=3, max_size=3), min_size=1, max_size=8), st.floats(0.1, 9)
)
def test_a_temperature_divides_the_logits_before_the_softmax(logits, temperature):
    if temperature == 1:
        return
    powers = np.exp(np.array(logits, np.float64) / temperature)
    expected = powers.max(1) / powers.sum(1)
    # Differences of up to 400 are taken in FP32: 400 * 6e-8.
    np.testing.assert_allclose(calibrated(temperature, logits, [0.0] * len(logits)), expected, atol=3e-5)


def test_logits_far_apart_overflow_nothing():
    assert calibrated(0.01, [[3e4, -3e4]], [0.0]).tolist() == [1.0]


def test_calibrating_changes_no_logits():
    logits = np.array([[1.0, 2.0]], np.float32)
    Gate(0.5, 2.0).calibrate(logits, np.zeros(1, np.float32))
    assert logits.tolist() == [[1.0, 2.0]]


def test_logits_that_are_no_number_stay_an_engine_fault():
    gate, row = Gate(0.5, 2.0), np.zeros(1, np.int32)
    confidence = np.array([0.9], np.float32)
    gate.calibrate(np.array([[np.nan, 0]], np.float32), confidence)
    with pytest.raises(EngineError, match="NaN"):
        gate.survivors(confidence, row)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_is_not_above_0_is_refused(temperature):
    with pytest.raises(UsageError, match="the temperature must lie above 0, found"):
        Gate(0.5, temperature)
