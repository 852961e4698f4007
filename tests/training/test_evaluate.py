"""What the gate makes of both stages' answers, and the threshold that is stored with a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from sacvit.bundle.preprocess import Preprocessing
from sacvit.model.config import preset
from sacvit.model.network import PlainViT, TwoStageViT
from sacvit.profiles.tuning.curve import Judged, judge_at
from sacvit.training import evaluate
from sacvit.training.dataset import Files, Split
from sacvit.training.evaluate import answer, fit_threshold, is_above_chance, plain_accuracy, read_in_turn

CONFIG = preset("demo", image_size=32, patch_size=8, width=16, depth=4, heads=2, hidden=16, classes=3)


def judged(*rows: tuple[bool, bool, float]) -> Judged:
    """From (EE right, SAC right, confidence) of each image."""
    ee, sac, confidence = (np.array(column) for column in zip(*rows, strict=True))
    nothing = np.zeros(len(rows), np.float32)
    return Judged(confidence.astype(np.float32), ee, sac, ee, sac, nothing, nothing)


@pytest.fixture
def split() -> Split:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (7, 32, 32, 3), np.uint8), rng.integers(0, 3, 7)
    return Split(labels, ["a", "b", "c"], None, images, Preprocessing(32))


def a_model(kind: Any) -> Any:
    torch.manual_seed(0)
    model = kind(CONFIG)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def test_the_fitted_threshold_keeps_sac_s_accuracy_within_half_a_point() -> None:
    """Of 1000 images, EE is wrong on the 100 of which it is least sure; SAC is always right."""
    rows = [(number >= 100, True, 0.3 + number / 2000) for number in range(1000)]
    threshold = fit_threshold(judged(*rows))
    found = judge_at(judged(*rows), threshold)
    assert found.top1 >= 0.995 and 0.8 < found.exit_rate <= 0.905


def test_where_every_image_may_exit_the_threshold_is_the_lowest_confidence_that_was_seen() -> None:
    assert fit_threshold(judged((True, True, 0.3), (True, True, 0.9))) == pytest.approx(0.3)


def test_where_no_threshold_keeps_the_goal_it_is_1() -> None:
    assert fit_threshold(judged((False, True, 1.0))) == 1.0


@pytest.mark.parametrize(("right", "is_above"), [(50, False), (58, False), (62, True), (100, True)])
def test_a_network_has_learnt_when_it_beats_the_most_frequent_class(right: int, is_above: bool) -> None:
    rows = [(True, number < right, 0.5) for number in range(100)]
    split = Split(np.arange(100) % 2, ["a", "b"], None, np.zeros((100, 8, 8, 3), np.uint8), Preprocessing(8))
    assert is_above_chance(judged(*rows), split) == is_above


def test_answers_are_those_of_the_two_stages(split: Split) -> None:
    model = a_model(TwoStageViT).eval()
    with torch.no_grad():
        images = torch.from_numpy(split.images)
        ee = model.ee(images)
        sac = model.sac(images, ee.target_index, ee.target_context, ee.non_target)
    answers = answer(model, split)
    np.testing.assert_array_equal(answers.ee_right, ee.logits.argmax(-1).numpy() == split.labels)
    np.testing.assert_array_equal(answers.sac_right, sac.argmax(-1).numpy() == split.labels)
    np.testing.assert_allclose(answers.confidence, ee.confidence.numpy(), atol=1e-6)
    assert answers.ee_top5.all() and answers.sac_top5.all()  # of three classes


def test_answers_do_not_depend_on_the_batch(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = answer(a_model(TwoStageViT), split).confidence
    monkeypatch.setattr(evaluate, "EVALUATION_BATCH", 3)  # 3, 3 and 1
    np.testing.assert_allclose(answer(a_model(TwoStageViT), split).confidence, whole, atol=1e-6)


def test_the_plain_accuracy_is_the_share_of_right_answers(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    model = a_model(PlainViT).eval()
    with torch.no_grad():
        split.labels[:] = model(torch.from_numpy(split.images)).argmax(-1).numpy()
    split.labels[[1, 5]] = (split.labels[[1, 5]] + 1) % 3
    monkeypatch.setattr(evaluate, "EVALUATION_BATCH", 3)
    assert plain_accuracy(model, split) == 5 / 7


def test_a_last_batch_that_cannot_be_read_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(3):
        assert cv2.imwrite(str(tmp_path / f"{index}.png"), np.zeros((20, 20, 3), np.uint8))
    (tmp_path / "2.png").write_bytes(b"no picture")
    paths = [tmp_path / f"{index}.png" for index in range(3)]
    split = Split(np.zeros(3, np.int64), ["a"], None, Files(paths), Preprocessing(16))
    monkeypatch.setattr(evaluate, "EVALUATION_BATCH", 2)
    assert [len(images) for images, _ in read_in_turn(split, torch.device("cpu"))] == [2]
