"""The digits example: its splits, its committed model, and what docs/digits.md claims of it."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("skimage")

pytestmark = pytest.mark.programs

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "examples" / "digits"
SCENES = 400
SPREAD = 0.045  # three standard deviations of an accuracy near 0.9 over SCENES scenes


@pytest.fixture(scope="module")
def scenes():
    sys.path.insert(0, str(EXAMPLE))
    try:
        import scenes
    finally:
        sys.path.remove(str(EXAMPLE))
    return scenes


@pytest.fixture(scope="module")
def numbers() -> dict:
    return json.loads((ROOT / "docs" / "digits" / "numbers.json").read_text())


@pytest.fixture(scope="module")
def unseen(scenes) -> tuple[np.ndarray, np.ndarray]:
    """Fresh scenes of the test material, drawn with a seed that nothing else uses."""
    material, rng = scenes.load_material("test"), np.random.default_rng(4242)
    difficulty = scenes.draw_difficulties(rng, SCENES, 0.75, 0.9)
    drawn = [scenes.draw_scene(rng, material, float(value)) for value in difficulty]
    return np.stack([image for image, _ in drawn]), np.array([label for _, label in drawn])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    from sacvit import export

    return export(EXAMPLE / "model.pth", tmp_path_factory.mktemp("digits") / "build")


@pytest.fixture(scope="module")
def run(bundle, unseen) -> Any:
    """A function: top-1 and exit rate over the unseen scenes at a threshold, each run once."""
    from sacvit import Pipeline

    images, labels = unseen

    @functools.cache
    def measure(threshold: float | None) -> tuple[float, float]:
        results = Pipeline.load(bundle.ee, bundle.sac, threshold)(images)
        right = np.array([result.index for result in results]) == labels
        return float(right.mean()), float(np.mean([result.exits_early for result in results]))

    return measure


def test_no_digit_is_in_both_splits(scenes):
    train, test = scenes.load_material("train"), scenes.load_material("test")
    seen = {digit.tobytes() for digit in train.digits}
    assert len(train.labels) == 1400 and len(test.labels) == 397
    assert not any(digit.tobytes() in seen for digit in test.digits)


def test_photographs_are_cut_apart(scenes):
    picture = np.arange(20 * 50 * 3, dtype=np.uint16).astype(np.uint8).reshape(20, 50, 3)
    train, test = scenes.cut(picture, "train"), scenes.cut(picture, "test")
    assert train.shape[1] + test.shape[1] == 50 and test.shape[1] == 15


def test_hard_scenes_have_smaller_digits(scenes):
    digit = np.ones((8, 8), np.float32)
    easy, hard = (scenes.digit_mask(digit, 64 * size, 0, (32, 32), 64).sum() for size in (scenes.LARGE, scenes.SMALL))
    assert easy > 4 * hard


def test_a_seed_gives_the_same_scene(scenes):
    material = scenes.load_material("test")
    first, second = (scenes.draw_scene(np.random.default_rng(5), material, 0.5) for _ in range(2))
    assert (first[0] == second[0]).all() and first[1] == second[1]


@pytest.mark.parametrize("name", ["model.pth", "plain.pth"])
def test_the_committed_checkpoints_are_small(name):
    assert (EXAMPLE / name).stat().st_size <= 3_000_000


def test_the_committed_checkpoint_has_its_calibration_set():
    from sacvit.images.shards import read_headers
    from sacvit.model.checkpoint import load_checkpoint

    calibration = load_checkpoint(EXAMPLE / "model.pth").calibration
    pictures = read_headers(calibration.find())
    assert len(pictures) >= 200 and {label for _, _, label in pictures} == set(range(10))
    assert calibration.path.stat().st_size <= 1_000_000


def test_the_training_log_ends_with_the_committed_model():
    from sacvit.model.checkpoint import load_checkpoint

    last = json.loads((EXAMPLE / "log" / "two-stage-3.jsonl").read_text().splitlines()[-1])
    assert last["final"] and last["threshold"] == load_checkpoint(EXAMPLE / "model.pth").threshold


def test_sac_is_right_on_nine_unseen_scenes_of_ten(run):
    assert run(1.0)[0] >= 0.90 - SPREAD


def test_ee_alone_is_clearly_less_accurate(run):
    assert run(1.0)[0] - run(0.0)[0] > 0.04


def test_the_stored_threshold_keeps_sacs_accuracy_and_lets_half_exit(run):
    top1, exit_rate = run(None)
    assert top1 >= run(1.0)[0] - 0.005 - 0.01  # 0.5 points, and what SCENES scenes can tell
    assert exit_rate >= 0.5


def test_the_figures_numbers_are_this_models(run, numbers):
    for row in numbers["eta"]:
        if row["eta"] in (0.0, 1.0):
            assert run(row["eta"])[0] == pytest.approx(row["top1"], abs=SPREAD)


def test_the_figures_show_what_the_goals_ask(numbers):
    by_eta = {row["eta"]: row for row in numbers["eta"]}
    stored = by_eta[numbers["stored_eta"]]
    assert by_eta[1.0]["top1"] >= 0.9
    assert stored["top1"] >= by_eta[1.0]["top1"] - 0.005 and stored["exit_rate"] >= 0.5
    assert by_eta[0.0]["images_per_s"] > 1.3 * by_eta[1.0]["images_per_s"]
