"""Which images are listed, with whose answers, and what is kept of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from sacvit.bundle.errors import ImageError
from sacvit.images.labelled import Labelled
from sacvit.profiles.tuning.answer_files import Answers
from sacvit.profiles.tuning.curve import Judged
from sacvit.profiles.tuning.mistakes import SIDE, find_mistakes, list_mistakes, write_thumbnails
from sacvit.runtime.chain.pipeline import Pipeline

BUNDLE = Path(__file__).parents[2] / "runtime" / "bundles" / "typed"
EE = np.eye(3)[[0, 0, 1, 1, 2, 2]]  # EE's class of six images
SAC = np.eye(3)[[1, 0, 1, 2, 2, 0]]
LABELS = np.array([1, 1, 1, 1, 2, 2])
CONFIDENCE = np.array([0.9, 0.95, 0.9, 0.3, 0.9, 0.4], np.float32)


def view(seed):
    return np.random.default_rng(seed).integers(0, 255, (40, 32, 3)).astype(np.uint8)


def gone(index):
    raise ImageError("it is gone")


def labelled(read=view):
    return Labelled("made up", Path(), [f"{index}.png" for index in range(6)], LABELS, "", read)


@pytest.fixture
def found(tmp_path):
    """Images 0 and 1 exited wrong at 0.5, the latter with more confidence; 3 and 5 went on, and SAC broke both."""
    EE.astype(np.float32).tofile(tmp_path / "ee.f32")
    SAC.astype(np.float32).tofile(tmp_path / "sac.f32")
    times = np.ones(6, np.float32)
    answers = Answers(tmp_path, 6, 3, times, times, np.ones(6, bool))
    right = [(logits.argmax(1) == LABELS) for logits in (EE, SAC)]
    judged = Judged(CONFIDENCE, *right, *right, times, times)
    return find_mistakes(labelled(), np.ones(6, bool), judged, 0.5), answers, judged


def test_the_most_confident_come_first(found):
    assert {kind: list(indices) for kind, indices in found[0].found.items()} == {
        "exited_wrong": [1, 0],
        "broken_by_sac": [5, 3],
    }


def test_only_chosen_images_are_found(found):
    chosen = np.array([True, False, True, True, True, False])
    mistakes = find_mistakes(labelled(), chosen, found[2], 0.5)
    assert [list(indices) for indices in mistakes.found.values()] == [[0], [3]]


def test_each_has_its_label_and_both_answers_by_name(found):
    listed = list_mistakes(*found, ["ant", "bee", "cat"])
    assert listed["exited_wrong"] == {
        "eta": 0.5,
        "count": 2,
        "images": [
            {"image": "1.png", "confidence": 0.95, "label": "bee", "ee": "ant", "sac": "ant"},
            {"image": "0.png", "confidence": 0.9, "label": "bee", "ee": "ant", "sac": "bee"},
        ],
    }


def test_without_names_classes_are_numbers(found):
    assert list_mistakes(*found, None)["broken_by_sac"]["images"][0]["label"] == "2"


@pytest.fixture(scope="module")
def pipeline():
    return Pipeline.load(BUNDLE / "ee.onnx", BUNDLE / "sac.onnx", provider="cpu")


def test_thumbnails_are_what_the_network_saw_with_the_blocks_that_it_chose(found, pipeline, tmp_path):
    write_thumbnails(pipeline, found[0], tmp_path / "t.npz")
    with np.load(tmp_path / "t.npz", allow_pickle=False) as content:
        assert set(content.files) == {
            "grid", "exited_wrong", "exited_wrong_targets", "broken_by_sac", "broken_by_sac_targets"
        }  # fmt: skip
        seen = pipeline.preprocessing.apply(view(1))
        expected = cv2.resize(seen, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        assert (content["exited_wrong"][0] == expected).all() and int(content["grid"]) == pipeline.grid
        assert set(content["exited_wrong_targets"][0]) == set(pipeline(seen).target_blocks)


def test_a_picture_that_is_gone_stays_black_and_ends_nothing(found, pipeline, tmp_path):
    mistakes = SimpleNamespace(data=labelled(gone), found=found[0].found)
    write_thumbnails(pipeline, mistakes, tmp_path / "t.npz")
    with np.load(tmp_path / "t.npz", allow_pickle=False) as content:
        assert content["exited_wrong"].shape == (2, SIDE, SIDE, 3) and not content["exited_wrong"].any()
