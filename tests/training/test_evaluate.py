"""What the gate makes of both stages' answers, and the threshold that is stored with a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sacvit.bundle.preprocess import Preprocessing
from sacvit.model.config import preset
from sacvit.model.network import PlainViT, TwoStageViT
from sacvit.training import evaluate
from sacvit.training.dataset import Files, Split
from sacvit.training.evaluate import Answers, answer, plain_accuracy, read_in_turn

CONFIG = preset("demo", image_size=32, patch_size=8, width=16, depth=4, heads=2, hidden=16, classes=3)


def some_answers(*rows: tuple[bool, bool, float]) -> Answers:
    """From (EE right, SAC right, confidence) of each image."""
    ee, sac, confidence = zip(*rows, strict=True)
    return Answers(np.array(ee), np.array(sac), np.array(confidence, float))


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


def test_an_image_exits_when_its_confidence_equals_the_threshold() -> None:
    assert some_answers((True, False, 0.5)).at(0.5) == (1.0, 1.0)


def test_an_image_goes_on_when_its_confidence_is_below_the_threshold() -> None:
    assert some_answers((False, True, 0.49)).at(0.5) == (1.0, 0.0)


def test_accuracy_and_exit_rate_are_shares_of_all_images() -> None:
    answers = some_answers((True, False, 0.9), (False, True, 0.8), (True, True, 0.1), (True, False, 0.2))
    assert answers.at(0.5) == (0.5, 0.5)


def test_a_threshold_of_0_leaves_everything_to_ee() -> None:
    assert some_answers((True, False, 0.4), (False, True, 0.4), (True, False, 0.4), (True, True, 0.5)).at(0) == (
        0.75,
        1,
    )


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(0.1, 1)), min_size=1, max_size=30),
    allowed_loss=st.sampled_from([0.0, 0.005, 0.1, 0.5]),
)
def test_the_fitted_threshold_is_the_smallest_that_keeps_the_goal(
    rows: list[tuple[bool, bool, float]], allowed_loss: float
) -> None:
    sac_right = sum(sac for _, sac, _ in rows) / len(rows)
    keeping = []
    for hundredth in range(101):
        right = sum(ee if confidence >= hundredth / 100 else sac for ee, sac, confidence in rows) / len(rows)
        if right >= sac_right - allowed_loss:
            keeping.append(hundredth / 100)
    assert some_answers(*rows).fit_threshold(allowed_loss) == min(keeping, default=1.0)


def test_where_no_threshold_keeps_the_goal_it_is_1() -> None:
    assert some_answers((False, True, 1.0)).fit_threshold(0.0) == 1.0


def test_a_stage_that_is_always_right_needs_no_second() -> None:
    assert some_answers((True, True, 0.3), (True, True, 0.9)).fit_threshold(0.0) == 0.0


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
