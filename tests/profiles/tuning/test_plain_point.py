"""The plain ViT on the images that are reported on: all of them counted, none of them twice, timed when warm."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sacvit.bundle.errors import EngineError
from sacvit.bundle.preprocess import Preprocessing
from sacvit.images.labelled import Labelled
from sacvit.profiles.tuning import plain_point
from sacvit.profiles.tuning.plain_point import measure_plain, require_classes
from sacvit.profiles.tuning.stored_answers import WARMUP_PASSES

COLD_S, WARM_S = 7.0, 0.25


class Clock:
    """A plain ViT that answers with the image's first value, slowly while it is cold, and the clock that it moves."""

    def __init__(self, monkeypatch, batch):
        self.now, self.passes = 0.0, 0
        self.images = np.zeros((batch, 4, 4, 3), np.uint8)
        record = SimpleNamespace(preprocessing=Preprocessing(4, crop_ratio=1.0), borrows_weights=False)
        outputs = {"logits": SimpleNamespace(shape=(9,))}
        self.stage = SimpleNamespace(record=record, outputs=outputs, path=Path("plain.onnx"))
        monkeypatch.setattr(plain_point.time, "perf_counter", lambda: self.now)

    def run(self, count):
        self.now += COLD_S if self.passes < WARMUP_PASSES else WARM_S
        self.passes += 1
        return [int(image[0, 0, 0]) for image in self.images[:count]]


def data(count, wrong=()) -> Labelled:
    """Image i shows i % 9, and is labelled so unless it is in `wrong`."""
    labels = np.array([(index + (index in wrong)) % 9 for index in range(count)])
    names = [str(index) for index in range(count)]
    return Labelled("made up", Path(), names, labels, "", lambda index: np.full((4, 4, 3), index % 9, np.uint8))


def measure(clock, images, batch, chosen=None, progress=lambda done, total: None):
    mask = np.ones(images.count, bool) if chosen is None else chosen
    return measure_plain(clock, images, mask, batch, progress)


def test_passes_that_warm_up_are_counted_and_not_timed(monkeypatch):
    found = measure(Clock(monkeypatch, 1), data(10), 1)
    assert (found["mean_ms"], found["warmup_passes"]) == (1e3 * WARM_S, WARMUP_PASSES)


@pytest.mark.parametrize("count", [3, 4, 10])
def test_images_that_do_not_fill_a_batch_are_counted_too(count, monkeypatch):
    found = measure(Clock(monkeypatch, 4), data(count, wrong=[count - 1]), 4)
    assert (found["images"], found["top1"]) == (count, round(1 - 1 / count, 6))


def test_borrowed_weights_have_a_time_and_no_accuracy(monkeypatch):
    clock = Clock(monkeypatch, 1)
    clock.stage.record.borrows_weights = True
    found = measure(clock, data(10), 1)
    assert found["top1"] is None and found["mean_ms"] > 0


def test_only_the_images_that_are_reported_on_are_run(monkeypatch):
    chosen = np.arange(10) >= 6
    assert measure(Clock(monkeypatch, 1), data(10, wrong=range(6)), 1, chosen)["top1"] == 1.0


def test_progress_ends_with_all_images(monkeypatch):
    told = []
    measure(Clock(monkeypatch, 4), data(10), 4, progress=lambda *now: told.append(now))
    assert told == [(4, 10), (8, 10), (10, 10)]


def test_a_plain_vit_of_other_classes_is_refused(monkeypatch):
    clock = Clock(monkeypatch, 1)
    assert require_classes(clock, 9) is clock
    with pytest.raises(EngineError, match=r"plain\.onnx has 9 classes, the pair has 5\. Export them together"):
        require_classes(clock, 5)
