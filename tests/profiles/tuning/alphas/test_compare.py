"""The choice among alphas, on answers that are made up: 0.5 is the bundle's own."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from sacvit.bundle.manifest import SacUse
from sacvit.profiles.tuning import resampling
from sacvit.profiles.tuning.alphas import by_confidence
from sacvit.profiles.tuning.alphas.compare import Compared, compare_alphas
from sacvit.profiles.tuning.alphas.measure import Times
from sacvit.profiles.tuning.curve import POINTS, Judged

COUNT = 4000
CONFIDENCE = np.linspace(0.05, 0.95, COUNT).astype(np.float32)
NEVER, ALWAYS = np.zeros(COUNT, bool), np.ones(COUNT, bool)
SURE, HARD = CONFIDENCE > 0.5, CONFIDENCE < 0.3
TIMES = Times(1.0, {0.25: 2.0, 0.5: 3.0, 0.75: 4.0})


@pytest.fixture(autouse=True)
def little_work(monkeypatch):
    monkeypatch.setattr(resampling, "RESAMPLES", 50)
    monkeypatch.setattr(by_confidence, "GRID", 21)


def judged(sac: np.ndarray) -> Judged:
    none = np.zeros(COUNT, np.float32)
    return Judged(CONFIDENCE, SURE, sac, NEVER, NEVER, none, none)


def compared(**sacs: np.ndarray) -> Compared:
    answers = {float(name.removeprefix("a").replace("_", ".")): judged(right) for name, right in sacs.items()}
    return compare_alphas(0.5, answers, answers, TIMES, POINTS)


def test_of_equally_good_sacs_the_faster_one_is_chosen():
    found = compared(a0_25=ALWAYS, a0_5=ALWAYS, a0_75=ALWAYS)
    assert found.choices["balanced"].sacs == [SacUse(0.25, 1.0)]
    point = found.result["points"]["balanced"]
    assert point["alpha"] == 0.25 and point["promise"]["is_kept"]
    assert point["against_own"]["time"][2] < 0


def test_a_loss_is_counted_against_the_bundle_s_own_sac():
    """A SAC that is wrong as often as EE loses nothing against itself."""
    found = compared(a0_25=SURE, a0_5=ALWAYS)
    assert found.result["points"]["balanced"]["alpha"] == 0.5
    assert found.choices["balanced"].sacs == []


def test_the_most_accurate_point_takes_the_sac_that_is_right_more_often():
    found = compared(a0_5=~HARD, a0_75=ALWAYS)
    assert found.result["points"]["accurate"]["alpha"] == 0.75
    assert found.result["points"]["accurate"]["against_own"]["top1"][1] > 0


def test_two_sacs_that_beat_one_on_other_images_are_stored():
    found = compared(a0_25=~HARD, a0_5=~HARD | ALWAYS, a0_75=ALWAYS)
    two = found.result["by_confidence"]["balanced"]
    assert two["beats"] and (two["hard"], two["easy"]) == (0.5, 0.25)
    choice = found.choices["balanced"]
    assert choice.sacs == [SacUse(None, two["below"]), SacUse(0.25, 1.0)]
    assert choice.promise is not None and choice.promise["at_most"] <= 0.005


def test_two_sacs_that_are_no_better_than_one_are_not_stored():
    found = compared(a0_25=ALWAYS, a0_5=ALWAYS)
    assert not found.result["by_confidence"]["balanced"]["beats"]
    assert len(found.choices["balanced"].sacs) == 1


def test_a_promise_is_one_about_all_alphas_that_are_compared():
    one = compared(a0_5=ALWAYS).result["points"]["balanced"]["promise"]
    three = compared(a0_25=ALWAYS, a0_5=ALWAYS, a0_75=ALWAYS).result["points"]["balanced"]["promise"]
    assert three["needed"] > one["needed"]


def test_the_front_rises_in_time_and_in_top_1_on_the_images_that_it_was_fitted_to():
    front = compared(a0_25=~HARD, a0_5=ALWAYS).result["front"]
    for first, second in pairwise(front):
        assert first["mean_ms"] < second["mean_ms"] and first["top1"] < second["top1"]
