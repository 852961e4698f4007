"""Calibration images: the same ones in the same order every time, and a hash of what the network sees."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit.bundle.errors import ImageError, UsageError
from sacvit.bundle.preprocess import Preprocessing
from sacvit.images.calibration_set import ImageSet, open_images

SIZE = 16
RULE = Preprocessing(SIZE)
NAMES = ["ant", "bee", "cat", "cow", "dog", "elk", "owl"]


@pytest.fixture
def squares() -> np.ndarray:
    """(7, 16, 16, 3) uint8 RGB: already of the network's size."""
    return np.random.default_rng(3).integers(0, 256, (7, SIZE, SIZE, 3), np.uint8)


def opened(
    path: Path, count: int | None = None, names: list[str] | None = None, rule: Preprocessing = RULE
) -> ImageSet:
    return open_images(path, rule, count, 7, names, "--calib")


def pixels(images: ImageSet) -> np.ndarray:
    return np.concatenate(list(images.batches(3)))


def save(path: Path, rgb: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), rgb[..., ::-1] if rgb.ndim == 3 else rgb)
    return path


def saved_npz(path: Path, compressed: bool = False, **arrays: Any) -> Path:
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return path


def labels_of(images: ImageSet) -> list[int] | None:
    return None if images.labels is None else images.labels.tolist()


def in_classes(folder: Path, squares: np.ndarray, *names: str) -> Path:
    """One picture a name, in the order of the names."""
    for place, name in enumerate(names):
        save(folder / name / f"{place}.png", squares[place])
    return folder


def test_pictures_come_in_the_order_of_their_names_whatever_order_they_were_written_in(
    tmp_path: Path, squares: np.ndarray
) -> None:
    for place in (2, 0, 3, 1):
        save(tmp_path / f"{place}.png", squares[place])
    np.testing.assert_array_equal(pixels(opened(tmp_path)), squares[:4])


def test_a_second_pass_gives_the_same_images(tmp_path: Path, squares: np.ndarray) -> None:
    for place in range(3):
        save(tmp_path / f"{place}.png", squares[place])
    images = opened(tmp_path)
    np.testing.assert_array_equal(pixels(images), pixels(images))


def test_batches_are_full_but_for_the_last(tmp_path: Path, squares: np.ndarray) -> None:
    images = opened(saved_npz(tmp_path / "a.npz", images=squares))
    assert [len(batch) for batch in images.batches(3)] == [3, 3, 1]


def test_the_progress_counts_every_image_once(tmp_path: Path, squares: np.ndarray) -> None:
    steps: list[int] = []
    open_images(saved_npz(tmp_path / "a.npz", images=squares), RULE, None, 7, None, "--calib", steps.append)
    assert steps == [1] * 7


def test_a_count_below_the_number_spreads_evenly(tmp_path: Path, squares: np.ndarray) -> None:
    images = opened(saved_npz(tmp_path / "a.npz", images=squares), count=3)
    np.testing.assert_array_equal(pixels(images), squares[[0, 2, 4]])


def test_labels_are_those_of_the_chosen_images(tmp_path: Path, squares: np.ndarray) -> None:
    in_classes(tmp_path, squares, *NAMES)
    assert labels_of(opened(tmp_path, count=3, names=NAMES)) == [0, 2, 4]


@pytest.mark.parametrize("names", [None, NAMES], ids=["a model without names", "a model with names"])
def test_folders_that_are_no_classes_leave_all_without_labels_and_the_log_says_why(
    tmp_path: Path, squares: np.ndarray, caplog: pytest.LogCaptureFixture, names: list[str] | None
) -> None:
    """Two cameras are not the first two classes."""
    in_classes(tmp_path, squares, "camera0", "camera1")
    with caplog.at_level(logging.INFO, "sacvit"):
        images = opened(tmp_path, names=names)
    assert (images.count, images.labels) == (2, None)
    assert images.why_unlabelled in caplog.text and str(tmp_path) in images.why_unlabelled


def test_a_flat_folder_has_no_labels(tmp_path: Path, squares: np.ndarray) -> None:
    save(tmp_path / "a.png", squares[0])
    save(tmp_path / "b.png", squares[1])
    assert opened(tmp_path, names=NAMES).labels is None


def test_one_folder_that_is_no_class_among_others_is_refused_with_the_nearest(
    tmp_path: Path, squares: np.ndarray
) -> None:
    in_classes(tmp_path, squares, "ant", "bees")
    with pytest.raises(ImageError, match=r"1 of 2 labels are no class of the model: 'bees' \(did you mean bee\?\)"):
        opened(tmp_path, names=NAMES)


@given(total=st.integers(1, 40), count=st.integers(1, 60))
def test_neighbouring_choices_are_equally_far_apart(
    tmp_path_factory: pytest.TempPathFactory, total: int, count: int
) -> None:
    path = tmp_path_factory.mktemp("choice") / "a.npz"
    numbered = np.zeros((total, 1, 1, 3), np.uint8)
    numbered[:, 0, 0, 0] = range(total)
    chosen = pixels(opened(saved_npz(path, images=numbered), count, rule=Preprocessing(1)))[:, 0, 0, 0]
    ends = [*chosen.tolist(), total]
    assert len(chosen) == min(count, total)
    assert chosen[0] == 0
    assert set(np.diff(ends)) <= {total // len(chosen), -(-total // len(chosen))}


def test_the_number_available_is_told_beside_the_number_chosen(tmp_path: Path, squares: np.ndarray) -> None:
    images = opened(saved_npz(tmp_path / "a.npz", images=squares), count=3)
    assert (images.count, images.available) == (3, 7)


def test_equal_images_count_as_one_distinct(tmp_path: Path, squares: np.ndarray) -> None:
    images = opened(saved_npz(tmp_path / "a.npz", images=squares[[0, 1, 0, 1, 2]]))
    assert (images.count, images.distinct) == (5, 3)


def test_a_count_below_one_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the number of images for --calib must be at least 1, found 0"):
        opened(tmp_path, count=0)


def test_the_hash_is_the_same_every_time(tmp_path: Path, squares: np.ndarray) -> None:
    path = saved_npz(tmp_path / "a.npz", images=squares)
    assert opened(path).sha256 == opened(path).sha256


def test_the_hash_is_the_same_in_every_process_and_on_every_machine(tmp_path: Path) -> None:
    steps = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    images = opened(saved_npz(tmp_path / "a.npz", images=steps), rule=Preprocessing(4))
    assert images.sha256 == "29443438c66f297fe42e32a1c18ee421c247bd77538e59219479d45b6b732fef"


def test_the_hash_is_of_the_pixels_and_not_of_the_container(tmp_path: Path, squares: np.ndarray) -> None:
    np.save(tmp_path / "images.npy", squares)
    stored = opened(saved_npz(tmp_path / "a.npz", images=squares))
    compressed = opened(saved_npz(tmp_path / "b.npz", True, image=squares))
    pictures = opened(in_classes(tmp_path / "pictures", squares, *"0123456"))
    assert {opened(tmp_path).sha256, compressed.sha256, pictures.sha256} == {stored.sha256}


def test_one_changed_pixel_changes_the_hash(tmp_path: Path, squares: np.ndarray) -> None:
    before = opened(saved_npz(tmp_path / "a.npz", images=squares)).sha256
    squares[-1, -1, -1, -1] ^= 1
    assert opened(saved_npz(tmp_path / "a.npz", images=squares)).sha256 != before


def test_another_order_changes_the_hash(tmp_path: Path, squares: np.ndarray) -> None:
    before = opened(saved_npz(tmp_path / "a.npz", images=squares)).sha256
    assert opened(saved_npz(tmp_path / "a.npz", images=squares[::-1])).sha256 != before


def test_another_count_changes_the_hash(tmp_path: Path, squares: np.ndarray) -> None:
    path = saved_npz(tmp_path / "a.npz", images=squares)
    assert opened(path, count=6).sha256 != opened(path).sha256


def test_another_preprocessing_changes_the_hash_even_where_pixels_stay(tmp_path: Path, squares: np.ndarray) -> None:
    path = saved_npz(tmp_path / "a.npz", images=squares)
    assert opened(path, rule=Preprocessing(SIZE, fit="stretch")).sha256 != opened(path).sha256


def test_labels_do_not_change_the_hash(tmp_path: Path, squares: np.ndarray) -> None:
    bare = opened(saved_npz(tmp_path / "a.npz", images=squares))
    labelled = opened(saved_npz(tmp_path / "b.npz", images=squares, labels=np.arange(7)))
    assert labelled.sha256 == bare.sha256


@pytest.fixture
def scene() -> np.ndarray:
    """(40, 60, 3) uint8 RGB, smooth, no two corners alike."""
    corners = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [200, 200, 40]]], np.uint8)
    return cv2.resize(corners, (60, 40))


def test_a_picture_of_another_size_goes_through_the_preprocessing_rule(tmp_path: Path, scene: np.ndarray) -> None:
    rule = Preprocessing(SIZE)
    path = save(tmp_path / "a.png", scene).parent
    np.testing.assert_array_equal(pixels(opened(path, rule=rule))[0], rule.apply(scene[..., ::-1].copy()))


def test_an_array_of_another_size_goes_through_the_preprocessing_rule(tmp_path: Path, scene: np.ndarray) -> None:
    path = saved_npz(tmp_path / "a.npz", images=scene[None])
    np.testing.assert_array_equal(pixels(opened(path))[0], RULE.apply(scene[..., ::-1].copy()))


def test_a_picture_of_the_network_s_size_is_not_cropped(tmp_path: Path, squares: np.ndarray) -> None:
    path = save(tmp_path / "a.png", squares[0]).parent
    np.testing.assert_array_equal(pixels(opened(path))[0], squares[0])


def test_one_image_repeated_is_refused(tmp_path: Path, squares: np.ndarray) -> None:
    path = saved_npz(tmp_path / "a.npz", images=squares[[0, 0, 0]])
    with pytest.raises(ImageError, match=r"all \d images are one and the same; give different ones"):
        opened(path)


def test_a_single_image_is_no_repetition(tmp_path: Path, squares: np.ndarray) -> None:
    assert opened(saved_npz(tmp_path / "a.npz", images=squares[:1])).count == 1


def test_an_unreadable_picture_ends_it_by_name(tmp_path: Path, squares: np.ndarray) -> None:
    save(tmp_path / "a.png", squares[0])
    (tmp_path / "broken.jpg").write_bytes(b"no picture at all")
    with pytest.raises(ImageError, match=r"broken\.jpg is no picture"):
        opened(tmp_path)
