"""One eta for each image of a batch."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sacvit.serving.gate import EachGate


def survivors(confidences: list[float], thresholds: list[float]) -> list[int]:
    gate, row = EachGate(0.5), np.full(len(confidences), -1, np.int32)
    gate.begin(thresholds)
    return row[: gate.survivors(np.array(confidences, np.float32), row)].tolist()


@given(st.lists(st.tuples(st.floats(0, 1, width=32), st.floats(0, 1)), min_size=1, max_size=20))
def test_each_image_is_judged_by_its_own_eta(pairs: list[tuple[float, float]]) -> None:
    wanted = [place for place, (value, eta) in enumerate(pairs) if not np.float32(value) >= np.float32(eta)]
    assert survivors([value for value, _ in pairs], [eta for _, eta in pairs]) == wanted


def test_a_confidence_that_is_no_number_goes_on() -> None:
    assert survivors([float("nan"), 0.9], [0.0, 0.5]) == [0]
