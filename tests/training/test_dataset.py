"""Data folders: both layouts, every message, and batches that depend on the seed and the step alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from sacvit.bundle.errors import ConfigError, ImageError
from sacvit.bundle.preprocess import Preprocessing
from sacvit.training.augment import Augmentation, Mixing
from sacvit.training.batches import Batches
from sacvit.training.dataset import Split, open_split

RULE = Preprocessing(16)


def write_arrays(folder: Path, count: int = 10, **changes: Any) -> Path:
    """A split of arrays; image i is filled with i. An entry of None leaves that file away."""
    images = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 16, 16, 3), np.uint8)
    arrays = {"images": images, "labels": np.arange(count) % 3} | changes
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        if array is not None:
            np.save(folder / f"{name}.npy", array)
    return folder


def write_pictures(folder: Path, *names: str, size: tuple[int, int] = (20, 30)) -> Path:
    """Pictures at the given paths, the i-th filled with i * 10."""
    for index, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(folder / name), np.full((*size, 3), index * 10, np.uint8))
    return folder


def augmented(split: Split, indices: np.ndarray) -> np.ndarray:
    generators = [np.random.default_rng(place) for place in range(len(indices))]
    return split.read_augmented(indices, Augmentation(crop=True), generators)[0]


def refusal(folder: Path) -> str:
    with pytest.raises(ImageError) as fault:
        open_split(folder, RULE)
    return str(fault.value)


# Arrays


def test_arrays_come_in_the_order_of_the_indices(tmp_path: Path) -> None:
    split = open_split(write_arrays(tmp_path), RULE)
    assert split.read(np.array([7, 2, 2, 9]))[0][:, 0, 0, 0].tolist() == [7, 2, 2, 9]


def test_arrays_keep_their_labels(tmp_path: Path) -> None:
    assert open_split(write_arrays(tmp_path, 5), RULE).labels.tolist() == [0, 1, 2, 0, 1]


def test_classes_are_numbers_where_nobody_names_them(tmp_path: Path) -> None:
    assert open_split(write_arrays(tmp_path), RULE).classes == ["0", "1", "2"]


def test_classes_are_the_lines_of_classes_txt(tmp_path: Path) -> None:
    (write_arrays(tmp_path) / "classes.txt").write_text("cat\ndog\ntree frog\n")
    assert open_split(tmp_path, RULE).classes == ["cat", "dog", "tree frog"]


def test_classes_txt_is_read_as_every_file_of_class_names(tmp_path: Path) -> None:
    (write_arrays(tmp_path) / "classes.txt").write_text("\ufeffcat\r\ndog\r\nfrog\r\n\r\n", "utf-8")
    assert open_split(tmp_path, RULE).classes == ["cat", "dog", "frog"]


def test_a_label_without_a_name_is_refused(tmp_path: Path) -> None:
    (write_arrays(tmp_path) / "classes.txt").write_text("cat\ndog\n")
    assert "classes.txt names 2 classes, but a label is 2" in refusal(tmp_path)


def test_a_label_beyond_any_number_of_classes_is_refused_before_names_are_made_up(tmp_path: Path) -> None:
    folder = write_arrays(tmp_path)
    np.save(folder / "labels.npy", np.array([0] * 9 + [1 << 40]))
    assert f"a label is {1 << 40}; the limit is 1048576 classes" in refusal(tmp_path)


def test_a_class_folder_whose_name_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (write_pictures(tmp_path, "cat/1.png") / "cat").rename(tmp_path / "caf\udce9")
    assert r"the name of a class folder is not UTF-8: 'caf\udce9'. Rename it" in refusal(tmp_path)


def test_difficulty_is_read(tmp_path: Path) -> None:
    split = open_split(write_arrays(tmp_path, 3, difficulty=np.array([0.5, 0.25, 1])), RULE)
    assert split.difficulty is not None and split.difficulty.tolist() == [0.5, 0.25, 1]


def test_a_missing_folder_is_refused_with_the_layout(tmp_path: Path) -> None:
    wanted = "train is missing. A data folder has train/ and val/, with arrays, .tar shards or class folders inside"
    assert wanted in refusal(tmp_path / "train")


def test_images_of_another_side_are_refused_with_both(tmp_path: Path) -> None:
    """Arrays are trained on as they are."""
    wanted = "images.npy must be (N, 16, 16, 3) uint8, found (10, 16, 15, 3) uint8"
    assert wanted in refusal(write_arrays(tmp_path, images=np.zeros((10, 16, 15, 3), np.uint8)))


def test_labels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    wanted = "labels.npy must hold 10 whole numbers, found int64 (9,)"
    assert wanted in refusal(write_arrays(tmp_path, labels=np.arange(9)))


def test_a_label_below_0_is_refused(tmp_path: Path) -> None:
    assert "labels.npy: a label is -1; labels are counted from 0" in refusal(
        write_arrays(tmp_path, labels=np.arange(10) - 1)
    )


def test_difficulty_of_another_length_is_refused(tmp_path: Path) -> None:
    wanted = "difficulty.npy must hold 10 numbers, found float64 (9,)"
    assert wanted in refusal(write_arrays(tmp_path, difficulty=np.zeros(9)))


def test_missing_labels_are_refused(tmp_path: Path) -> None:
    assert "has images.npy, but no labels.npy" in refusal(write_arrays(tmp_path, labels=None))


@pytest.mark.parametrize("name", ["images.npy", "labels.npy"])
def test_a_truncated_array_is_refused(tmp_path: Path, name: str) -> None:
    path = write_arrays(tmp_path) / name
    path.write_bytes(path.read_bytes()[:-5])
    assert f"{name} is not a readable array" in refusal(tmp_path)


def test_an_array_that_would_run_code_is_refused(tmp_path: Path) -> None:
    wanted = "labels.npy is not a readable array: Array can't be memory-mapped: Python objects"
    assert wanted in refusal(write_arrays(tmp_path, labels=np.array([print] * 10)))


@pytest.mark.parametrize("name", ["images.npy", "labels.npy"])
def test_an_empty_array_file_is_refused(tmp_path: Path, name: str) -> None:
    (write_arrays(tmp_path) / name).write_bytes(b"")
    assert f"{name} is not a readable array" in refusal(tmp_path)


def test_an_archive_of_arrays_is_refused(tmp_path: Path) -> None:
    with (write_arrays(tmp_path) / "images.npy").open("wb") as file:
        np.savez(file, images=np.zeros((10, 16, 16, 3), np.uint8))
    assert "images.npy is an archive of arrays (.npz); expected one array (.npy)" in refusal(tmp_path)


def test_arrays_without_images_are_refused(tmp_path: Path) -> None:
    wanted = "images.npy must be (N, 16, 16, 3) uint8, found (0, 16, 16, 3) uint8"
    assert wanted in refusal(write_arrays(tmp_path, 0))


# Class folders


def test_class_folders_give_their_names_in_order(tmp_path: Path) -> None:
    split = open_split(write_pictures(tmp_path, "dog/1.png", "cat/1.png", "eel/1.png"), RULE)
    assert split.classes == ["cat", "dog", "eel"]


def test_class_folders_give_each_picture_its_label(tmp_path: Path) -> None:
    split = open_split(write_pictures(tmp_path, "dog/1.png", "cat/1.png", "cat/2.JPG"), RULE)
    pairs = [
        (path.relative_to(tmp_path).as_posix(), int(i))
        for path, i in zip(split.images.paths, split.labels, strict=True)
    ]
    assert pairs == [("cat/1.png", 0), ("cat/2.JPG", 0), ("dog/1.png", 1)]


def test_class_folders_that_are_numbers_are_these_classes(tmp_path: Path) -> None:
    split = open_split(write_pictures(tmp_path, *(f"{number}/1.png" for number in range(12))), RULE)
    assert split.classes == [str(number) for number in range(12)]


def test_linked_class_folders_and_pictures_of_any_suffix_are_trained_on(tmp_path: Path) -> None:
    write_pictures(tmp_path / "real", "cat/1.png", "dog/1.png")
    (tmp_path / "real" / "cat" / "1.png").rename(tmp_path / "real" / "cat" / "1.jfif")
    (tmp_path / "train").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "train" / name).symlink_to(f"../real/{name}")
    assert open_split(tmp_path / "train", RULE).labels.tolist() == [0, 1]


def test_other_files_in_class_folders_are_passed_over(tmp_path: Path) -> None:
    (write_pictures(tmp_path, "cat/1.png") / "cat" / "notes.txt").write_text("mine")
    assert len(open_split(tmp_path, RULE)) == 1


def test_pictures_are_read_by_the_preprocessing_rule(tmp_path: Path) -> None:
    write_pictures(tmp_path, "cat/1.png", "dog/1.png")
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    assert cv2.imwrite(str(tmp_path / "dog" / "1.png"), picture)
    np.testing.assert_array_equal(open_split(tmp_path, RULE).read(np.array([1]))[0][0], RULE.apply(picture))


def test_random_crops_of_one_colour_keep_it(tmp_path: Path) -> None:
    split = open_split(write_pictures(tmp_path, "cat/1.png", "cat/2.png", "cat/3.png"), RULE)
    batch = augmented(split, np.array([2, 0, 1]))
    np.testing.assert_array_equal(batch, np.array([20, 0, 10])[:, None, None, None] * np.ones((1, 16, 16, 3)))


def test_random_crops_differ_and_are_mirrored(tmp_path: Path) -> None:
    write_pictures(tmp_path, "cat/1.png")
    slope = np.tile(np.arange(0, 240, 6, np.uint8)[None, :, None], (40, 1, 3))
    assert cv2.imwrite(str(tmp_path / "cat" / "1.png"), slope)
    batch = augmented(open_split(tmp_path, RULE), np.zeros(20, int)).astype(int)
    rises = batch[:, 8, -1, 0] > batch[:, 8, 0, 0]
    assert 0 < rises.sum() < 20 and len({view.tobytes() for view in batch}) > 10


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    assert f"{tmp_path} holds neither images.npy, nor .tar shards, nor class folders with pictures" in refusal(tmp_path)


# Batches


def a_split(count: int = 100, **changes: Any) -> Split:
    images = np.zeros((count, 1, 1, 3), np.uint8)
    fields = {"labels": np.arange(count), "classes": ["x"], "difficulty": None, "images": images}
    return Split(**(fields | {"preprocessing": RULE} | changes))


def test_a_batch_depends_on_the_seed_and_the_step_alone() -> None:
    first, second = (Batches(a_split(), 8, seed=3) for _ in range(2))
    first.read(0), first.read(1)
    assert first.read(7)[1].tolist() == second.read(7)[1].tolist()


def test_batches_differ_between_steps_and_seeds() -> None:
    drawn = [Batches(a_split(), 8, seed).read(step)[1].tolist() for seed, step in ((0, 0), (0, 1), (1, 0))]
    assert drawn[0] != drawn[1] and drawn[0] != drawn[2]


def test_images_and_labels_of_a_batch_belong_together() -> None:
    images = np.arange(100, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 1, 3), np.uint8)
    batch, labels = Batches(a_split(images=images), 16).read(4)
    assert batch[:, 0, 0, 0].tolist() == labels.tolist()


def graded_batches(steps: float = 50) -> Batches:
    """Of 100 images, number 99 is the easiest; all are in after so many steps."""
    batches = Batches(a_split(difficulty=np.arange(100, 0, -1).astype(np.float32)), 2000)
    batches.grade(steps)
    return batches


@pytest.mark.parametrize(("step", "images"), [(0, 30), (50, 100), (99, 100)])
def test_a_curriculum_draws_from_the_easiest_share_alone(step: int, images: int) -> None:
    labels = graded_batches().read(step)[1]  # of 2000 draws from at most 100 images none is missed
    assert sorted(set(labels.tolist())) == list(range(100 - images, 100))


def test_half_way_a_curriculum_draws_from_half_of_what_was_kept_back() -> None:
    hardest = int(graded_batches().read(25)[1].min())
    assert hardest in (35, 36)  # 65 images, or 64: the share is a rounding error below 0.65


def test_without_a_curriculum_an_epoch_has_every_image_once() -> None:
    batches = Batches(a_split(), 10)
    epochs = [np.concatenate([batches.read(step)[1] for step in range(start, start + 10)]) for start in (0, 10)]
    assert [sorted(epoch.tolist()) for epoch in epochs] == [list(range(100))] * 2 and (epochs[0] != epochs[1]).any()


def test_a_batch_larger_than_the_split_is_filled_up() -> None:
    assert np.bincount(Batches(a_split(3), 7).read(5)[1]).tolist() in ([3, 2, 2], [2, 3, 2], [2, 2, 3])


def test_a_curriculum_of_very_few_images_still_draws() -> None:
    split = a_split(2, difficulty=np.array([1, 0], np.float32))
    batches = Batches(split, 9)
    batches.grade(100)
    assert set(batches.read(0)[1].tolist()) == {1}


def test_a_curriculum_without_difficulties_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"a curriculum needs difficulty\.npy in the training folder"):
        Batches(a_split(), 8).grade(50)


def test_augmentation_of_arrays_is_refused() -> None:
    with pytest.raises(ConfigError, match="--augment works on pictures; arrays are used as they are"):
        Batches(a_split(), 8, augmentation=Augmentation(crop=True))


def test_augmented_batches_depend_on_the_seed_and_the_step_alone(tmp_path: Path) -> None:
    write_pictures(tmp_path, "cat/1.png")
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    assert cv2.imwrite(str(tmp_path / "cat" / "1.png"), picture)
    first, second = (
        Batches(open_split(tmp_path, RULE), 4, augmentation=Augmentation(True, 0.4, 0.5)).read(2)[0] for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


# Pictures that cannot be read


def with_faults(folder: Path, *damaged: int, count: int = 8) -> Split:
    """Pictures of two classes, the i-th filled with 10 * i; some are no pictures at all."""
    names = [f"{'dog' if index % 2 else 'cat'}/{index // 2}.png" for index in range(count)]
    write_pictures(folder, *names)
    for index in damaged:
        (folder / names[index]).write_bytes(b"no picture")
    return open_split(folder, RULE)


def test_the_next_picture_takes_an_unreadable_one_s_place_with_its_own_label(tmp_path: Path) -> None:
    split = with_faults(tmp_path, 6)  # the last cat, in front of the first dog
    images, labels = Batches(split, 8).read(0)
    found = sorted(zip(images[:, 0, 0, 0].tolist(), labels.tolist(), strict=True))
    assert found == [(0, 0), (10, 1), (10, 1), (20, 0), (30, 1), (40, 0), (50, 1), (70, 1)]


def test_an_unreadable_picture_is_reported_once_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    batches = Batches(with_faults(tmp_path, 2), 8)
    for step in range(3):
        batches.read(step)
    assert caplog.messages == [f"passed over: {tmp_path}/cat/1.png is no picture"]


def test_a_truncated_jpeg_is_unreadable(tmp_path: Path) -> None:
    split = open_split(write_pictures(tmp_path, "cat/1.jpg", "cat/2.jpg", size=(300, 300)), RULE)
    noise = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8))[1].tobytes()
    (tmp_path / "cat" / "2.jpg").write_bytes(noise[: len(noise) // 2])
    assert split.read(np.array([0, 1]))[1].tolist() == [0] and "JPEG that was cut short" in split.faults[1]


def test_a_batch_with_unreadable_pictures_does_not_depend_on_who_reads_which_part(tmp_path: Path) -> None:
    whole = Batches(with_faults(tmp_path, 1, 4), 8, augmentation=Augmentation(True, 0.4, 0.5))
    parts = [Batches(open_split(tmp_path, RULE), 8, augmentation=whole.augmentation) for _ in range(2)]
    halves = [batches.read(3, part) for batches, part in zip(parts, (slice(0, 4), slice(4, 8)), strict=True)]
    images, labels = whole.read(3)
    assert (np.concatenate([half[0] for half in halves]) == images).all()
    assert (np.concatenate([half[1] for half in halves]) == labels).all()


def test_too_many_unreadable_pictures_end_it_with_their_number(tmp_path: Path) -> None:
    batches = Batches(with_faults(tmp_path, *range(0, 24, 2), count=26), 26)
    with pytest.raises(ImageError, match=r"1[12] of 26 pictures cannot be read, at last: .*png is no picture"):
        batches.read(0)


def test_a_split_without_a_readable_picture_is_told(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"16 pictures in a row cannot be read: .*cat/0\.png is no picture"):
        Batches(with_faults(tmp_path, 0, count=1), 1).read(0)


def test_a_class_without_a_picture_is_refused_by_name(tmp_path: Path) -> None:
    (write_pictures(tmp_path, "cat/1.png") / "dog").mkdir()
    assert "has classes without a picture: dog. Add some, or remove the folder" in refusal(tmp_path)


# Mixed pairs


def test_mixed_labels_tell_how_much_of_each_image_is_left() -> None:
    """Image i has the value i and the class i: what is left of each can be read off the mean."""
    images = np.arange(100, dtype=np.uint8)[:, None, None, None] * np.ones((1, 32, 32, 3), np.uint8)
    split = a_split(images=images, classes=[str(index) for index in range(100)])
    for mixing in (Mixing(0.8), Mixing(0, 1.0), Mixing(0.8, 1.0)):
        batch, shares = Batches(split, 20, mixing=mixing).read(1)
        np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-6)
        np.testing.assert_allclose(batch.mean((1, 2, 3)), shares @ np.arange(100), atol=0.5)  # rounded to whole pixels
        assert ((shares > 0).sum(1) == 2).sum() > 10


def test_a_part_of_a_mixed_batch_is_that_part() -> None:
    split = a_split(images=np.random.default_rng(0).integers(0, 256, (100, 8, 8, 3), np.uint8), classes=["x"] * 100)
    batches = Batches(split, 12, mixing=Mixing(0.8, 1.0))
    images, shares = batches.read(2)
    some, some_shares = batches.read(2, slice(4, 8))
    assert (some == images[4:8]).all() and (some_shares == shares[4:8]).all()
