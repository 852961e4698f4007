"""One eta for each image of a batch."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sacvit.serving.gate import EachGate


def survivors(confidences: list[float], thresholds: list[float]) -> list[int]:
    gate, row = EachGate(0.5), np.full(len(confidences), -1, np.int32)
    gate.expect(thresholds)
    return row[: gate.survivors(np.array(confidences, np.float32), row)].tolist()


@given(st.lists(st.tuples(st.floats(0, 1, width=32), st.floats(0, 1)), min_size=1, max_size=20))
def test_each_image_is_judged_by_its_own_eta(pairs: list[tuple[float, float]]) -> None:
    wanted = [
        place for place, (value, eta) in enumerate(pairs) if np.float32(value) < np.float32(eta) or np.float32(eta) == 1
    ]
    assert survivors([value for value, _ in pairs], [eta for _, eta in pairs]) == wanted


def test_a_confidence_of_nan_is_marked_as_broken_and_does_not_go_on() -> None:
    gate, row = EachGate(0.5), np.zeros(3, np.int32)
    gate.expect([0.0, 0.5, 0.5])
    assert row[: gate.survivors(np.array([np.nan, 0.9, 0.2], np.float32), row)].tolist() == [2]
    assert gate.broken == {0}


def test_logits_without_a_largest_number_are_marked_by_their_place_in_the_batch() -> None:
    gate, row = EachGate(0.5), np.array([1, 3, 4, 9], np.int32)
    gate.check(np.array([[1, np.nan], [1, np.inf], [1, -np.inf]], np.float32), row)
    assert gate.broken == {1, 3}  # -inf is a probability of 0
