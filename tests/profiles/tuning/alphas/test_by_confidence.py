"""Two SACs by confidence, on answers that are made up."""

from __future__ import annotations

import numpy as np
import pytest

from sacvit.profiles.tuning.alphas.by_confidence import answers_of, fastest_with, most_accurate, splits_of
from sacvit.profiles.tuning.curve import Judged, draw_curve

COUNT = 640
CONFIDENCE = np.linspace(0.05, 0.95, COUNT).astype(np.float32)  # image 0 is the hardest
NEVER = np.zeros(COUNT, bool)


def judged(ee: np.ndarray, sac: np.ndarray, sac_ms: float) -> Judged:
    ms = np.full(COUNT, 1.0, np.float32)
    return Judged(CONFIDENCE, ee, sac, NEVER, NEVER, ms, np.full(COUNT, sac_ms, np.float32))


@pytest.fixture
def two_kinds() -> dict[float, Judged]:
    """The quarter of the hardest images needs the large SAC, the next quarter any SAC, the rest none."""
    ee, small = CONFIDENCE[COUNT // 2] <= CONFIDENCE, CONFIDENCE[COUNT // 4] <= CONFIDENCE
    return {0.25: judged(ee, small, 1.0), 0.75: judged(ee, ~NEVER, 4.0)}


def test_hard_images_get_the_sac_that_they_need(two_kinds):
    best = fastest_with(splits_of(two_kinds, allow_two=True), 1.0)
    assert best is not None
    assert (best.hard, best.easy) == (0.75, 0.25)
    assert best.mean_ms == pytest.approx(1 + 4 / 4 + 1 / 4)
    assert CONFIDENCE[COUNT // 4 - 1] < best.below <= CONFIDENCE[COUNT // 4]
    assert CONFIDENCE[COUNT // 2 - 1] < best.eta <= CONFIDENCE[COUNT // 2]


def test_one_sac_alone_needs_the_large_one_for_all(two_kinds):
    best = fastest_with(splits_of(two_kinds, allow_two=False), 1.0)
    assert best is not None
    assert best.is_one and best.easy == 0.75
    assert best.mean_ms == pytest.approx(1 + 4 / 2)


def test_a_split_s_thresholds_give_the_answers_that_it_was_fitted_to(two_kinds):
    for split in splits_of(two_kinds, allow_two=True)[::37]:
        right, spent = answers_of(split, two_kinds)
        assert right.mean() == pytest.approx(split.top1)
        assert spent.mean() == pytest.approx(split.mean_ms)


def test_one_sac_follows_its_curve_over_eta():
    rng = np.random.default_rng(3)
    one = judged(rng.random(COUNT) < CONFIDENCE, rng.random(COUNT) < 0.9, 2.0)
    curve = draw_curve(one)
    for split in splits_of({0.5: one}, allow_two=False):
        place = int(np.flatnonzero(curve.exits == int((np.float32(split.eta) <= CONFIDENCE).sum()))[0])
        assert split.top1 == pytest.approx(curve.top1[place])
        assert split.mean_ms == pytest.approx(curve.mean_ms[place])


def test_of_equally_accurate_splits_the_fastest_is_taken(two_kinds):
    assert most_accurate(splits_of(two_kinds, allow_two=True)).mean_ms == pytest.approx(2.25)


def test_no_split_keeps_what_no_sac_reaches():
    assert fastest_with(splits_of({0.5: judged(NEVER, NEVER, 1.0)}, allow_two=True), 0.1) is None
