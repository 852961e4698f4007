from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit.bundle.errors import EngineError, UsageError
from sacvit.runtime.gate import Gate

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
    assert survivors(threshold, confidence) == [i for i, value in enumerate(confidence) if value < threshold]


def test_zero_lets_everything_exit():
    assert survivors(0.0, [0.0, 0.5, 1.0]) == []


def test_one_lets_only_certainty_exit():
    assert survivors(1.0, [1.0, np.nextafter(np.float32(1), np.float32(0))]) == [1]


@pytest.mark.parametrize("threshold", [-0.01, 1.01, float("nan"), float("inf")])
def test_a_threshold_outside_the_unit_interval_is_refused(threshold):
    with pytest.raises(UsageError, match=r"must lie in \[0, 1\], found"):
        Gate(threshold)


def test_a_confidence_that_is_no_number_is_an_engine_fault():
    with pytest.raises(EngineError, match=r"image 1 of the batch .* NaN"):
        survivors(0.5, [0.9, float("nan")])
