"""The sample of training images that a run leaves beside its checkpoint."""

from __future__ import annotations

import tarfile
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from sacvit.bundle.errors import SacvitError
from sacvit.bundle.files import sha256_of
from sacvit.bundle.preprocess import Preprocessing
from sacvit.images.shards import open_shards
from sacvit.training.calibration_set import FEWEST_IMAGES, MOST_IMAGES, pack, spread_over_classes, write_calibration_set
from sacvit.training.dataset import Files, Split


def noise(count: int, size: int) -> np.ndarray:
    """What an encoder makes least of."""
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


def split_of(images: np.ndarray, classes: int = 3) -> Split:
    labels = np.arange(len(images)) % classes
    return Split(labels, [f"class {number}" for number in range(classes)], None, images, Preprocessing(images.shape[1]))


def test_small_images_come_back_pixel_by_pixel_with_their_labels(tmp_path: Path) -> None:
    split = split_of(noise(30, 16))
    write_calibration_set(tmp_path / "model.pth", split)
    shards, labels = open_shards(tmp_path)
    stored = {shards.read(index)[..., ::-1].tobytes(): label for index, label in enumerate(labels)}
    assert stored == {image.tobytes(): label for image, label in zip(split.images, split.labels, strict=True)}


def test_the_hash_is_that_of_the_file_beside_the_checkpoint(tmp_path: Path) -> None:
    written = write_calibration_set(tmp_path / "best.pth", split_of(noise(5, 16)))
    assert written.path == tmp_path / "best.calib.tar" and written.sha256 == sha256_of(written.path)
    assert written.find() == written.path


def test_the_same_images_give_the_same_bytes(tmp_path: Path) -> None:
    digests = {write_calibration_set(tmp_path / f"{name}.pth", split_of(noise(9, 16))).sha256 for name in "ab"}
    assert len(digests) == 1


def test_images_that_do_not_fit_losslessly_are_stored_as_jpeg() -> None:
    images = noise(FEWEST_IMAGES, 64)
    lossless = len(pack(images, np.zeros(len(images), np.int64), 1 << 30))
    content = pack(images, np.zeros(len(images), np.int64), lossless - (1 << 20))
    assert content.count(b".jpg\0") == FEWEST_IMAGES and b".png\0" not in content


@pytest.mark.parametrize("max_bytes", [1 << 20, 123_456])
def test_the_file_keeps_within_its_limit(max_bytes: int) -> None:
    images = noise(300, 64)
    assert len(pack(images, np.zeros(300, np.int64), max_bytes)) <= max_bytes


def test_no_more_images_are_taken_than_an_export_reads(tmp_path: Path) -> None:
    written = write_calibration_set(tmp_path / "model.pth", split_of(noise(MOST_IMAGES + 90, 8)))
    with tarfile.open(written.path) as archive:
        assert len(archive.getnames()) == 2 * MOST_IMAGES


def test_classes_are_equally_frequent_as_far_as_they_have_images() -> None:
    labels = np.repeat([0, 1, 2, 3], [2, 50, 500, 500])
    counts = Counter(labels[spread_over_classes(labels, 100)].tolist())
    assert sorted(counts.values()) == [2, 32, 33, 33]


def test_a_part_of_the_sample_has_every_class_too() -> None:
    labels = np.arange(1000) % 40
    assert Counter(labels[spread_over_classes(labels, 400)[:80]].tolist()) == dict.fromkeys(range(40), 2)


def test_images_of_a_class_are_evenly_spaced() -> None:
    assert spread_over_classes(np.zeros(1000, np.int64), 10).tolist() == list(range(0, 1000, 100))


def test_with_more_classes_than_images_the_classes_are_not_the_first_ones() -> None:
    chosen = spread_over_classes(np.arange(1000), 100)
    assert len(set(chosen)) == 100 and chosen.max() > 900


def test_no_image_is_taken_twice() -> None:
    labels = np.arange(300) % 7
    assert sorted(spread_over_classes(labels, 512).tolist()) == list(range(300))


def test_pictures_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    for index in range(5):
        assert cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((20, 20, 3), 40 * index, np.uint8))
    (tmp_path / "3.png").write_bytes(b"no picture")
    files = Files([tmp_path / f"{index}.png" for index in range(5)])
    split = Split(np.arange(5), list("abcde"), None, files, Preprocessing(16))
    (tmp_path / "out").mkdir()
    write_calibration_set(tmp_path / "out" / "model.pth", split)
    assert sorted(open_shards(tmp_path / "out")[1]) == [0, 1, 2, 4]


def test_a_folder_that_cannot_be_written_is_reported_by_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SacvitError, match=r"model\.calib\.tar"):
        write_calibration_set(tmp_path / "file" / "model.pth", split_of(noise(2, 8)))
