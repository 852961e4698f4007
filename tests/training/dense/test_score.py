"""mIoU by its definition, and the threshold that keeps it."""

from __future__ import annotations

import numpy as np
import pytest

from sacvit.bundle.gating import may_exit
from sacvit.training.dense.score import Cells, JudgedCells, count_cells


def drawn(count: int = 5, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, classes, (count, 3, 3)), rng.integers(0, classes, (count, 3, 3))


def by_hand(found: np.ndarray, truth: np.ndarray, classes: int) -> float:
    shares = []
    for label in range(classes):
        both, either = ((found == label) & (truth == label)).sum(), ((found == label) | (truth == label)).sum()
        if either:
            shares.append(both / either)
    return float(np.mean(shares))


def test_miou_is_the_mean_over_classes_of_intersection_over_union() -> None:
    found, truth = drawn()
    assert count_cells(found, truth, 4).miou() == pytest.approx(by_hand(found, truth, 4))


def test_a_class_that_is_nowhere_does_not_count() -> None:
    found, truth = drawn()
    assert count_cells(found, truth, 9).miou() == pytest.approx(by_hand(found, truth, 4))


def test_images_can_be_chosen() -> None:
    found, truth = drawn()
    chosen = np.array([1, 1, 4])
    assert count_cells(found, truth, 4).of(chosen).miou() == pytest.approx(by_hand(found[chosen], truth[chosen], 4))


def judged(wrong: int, count: int = 200) -> JudgedCells:
    """SAC is right in all cells. EE is wrong in all cells of the images of which it is least sure."""
    truth = np.arange(count * 4).reshape(count, 2, 2) % 2
    answers = np.where(np.arange(count)[:, None, None] < wrong, 1 - truth, truth)
    confidence = np.linspace(0.5, 0.9, count).astype(np.float32)
    return JudgedCells(confidence, count_cells(answers, truth, 2), count_cells(truth, truth, 2))


def test_the_chain_has_ee_s_answers_where_images_exit() -> None:
    both = judged(wrong=100)
    exits = np.arange(200) >= 50
    truth = np.arange(800).reshape(200, 2, 2) % 2
    answers = np.where((np.arange(200)[:, None, None] < 100) & exits[:, None, None], 1 - truth, truth)
    assert both.chain(exits).miou() == pytest.approx(by_hand(answers, truth, 2))


def test_the_threshold_lets_the_most_images_exit_that_keep_miou() -> None:
    both = judged(wrong=40)
    threshold = both.fit_threshold()
    exits = may_exit(both.confidence, threshold)
    assert both.chain(exits).miou() >= 0.995
    one_more = exits | (both.confidence == both.confidence[~exits].max())
    assert both.chain(one_more).miou() < 0.995


def test_where_every_image_may_exit_the_threshold_is_the_lowest_confidence() -> None:
    assert judged(wrong=0).fit_threshold() == pytest.approx(0.5)


def test_where_no_exit_keeps_miou_the_threshold_is_1() -> None:
    assert judged(wrong=200).fit_threshold() == 1.0


def test_an_answer_that_is_always_the_most_frequent_class_is_chance() -> None:
    truth = np.repeat([0, 0, 0, 1], 4).reshape(4, 2, 2)
    for answers, is_above in ((np.zeros_like(truth), False), (truth, True)):
        cells: Cells = count_cells(answers, truth, 2)
        assert JudgedCells(np.ones(4, np.float32), cells, cells).is_above_chance() == is_above
