"""Calibration images: the same ones in the same order every time, and a clear word about every file that is not one."""

from __future__ import annotations

import io
import os
import pickle
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sacvit.bundle.errors import ImageError, UsageError
from sacvit.bundle.preprocess import Preprocessing
from sacvit.images import calibration_set as module
from sacvit.images.calibration_set import ImageSet, open_images

SIZE = 16
RULE = Preprocessing(SIZE)
JPEG_TOLERANCE = 16  # grey levels: OpenCV's quality 95 with halved colour, on edges between full colours


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


def listed(folder: Path, text: str) -> Path:
    path = folder / "list.txt"
    path.write_text(text, "utf-8")
    return path


def labels_of(images: ImageSet) -> list[int] | None:
    return None if images.labels is None else images.labels.tolist()


# A folder of pictures


def test_pictures_come_in_the_order_of_their_names_whatever_order_they_were_written_in(
    tmp_path: Path, squares: np.ndarray
) -> None:
    for place in (2, 0, 3, 1):
        save(tmp_path / f"{place}.png", squares[place])
    np.testing.assert_array_equal(pixels(opened(tmp_path)), squares[:4])


def test_the_order_does_not_depend_on_the_file_system(
    tmp_path: Path, squares: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in range(4):
        save(tmp_path / f"{place}.png", squares[place])
    backwards = sorted(tmp_path.iterdir(), reverse=True)
    monkeypatch.setattr(Path, "rglob", lambda folder, pattern: iter(backwards))
    np.testing.assert_array_equal(pixels(opened(tmp_path)), squares[:4])


def test_pictures_in_folders_of_folders_are_found(tmp_path: Path, squares: np.ndarray) -> None:
    for place, name in enumerate(("a/b/c/1.png", "a/b/2.png", "z.png")):
        save(tmp_path / name, squares[place])
    assert opened(tmp_path).count == 3


def test_a_suffix_in_capitals_is_a_picture_too(tmp_path: Path, squares: np.ndarray) -> None:
    save(tmp_path / "a.PNG", squares[0])
    assert opened(tmp_path).count == 1


def test_files_that_are_no_pictures_are_passed_over(tmp_path: Path, squares: np.ndarray) -> None:
    save(tmp_path / "a.png", squares[0])
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "folder.png").mkdir()
    assert opened(tmp_path).count == 1


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


# Labels of class folders


def in_classes(folder: Path, squares: np.ndarray, *names: str) -> Path:
    """One picture a name, in the order of the names."""
    for place, name in enumerate(names):
        save(folder / name / f"{place}.png", squares[place])
    return folder


def test_class_folders_are_labels_in_the_order_of_their_names(tmp_path: Path, squares: np.ndarray) -> None:
    images = opened(in_classes(tmp_path, squares, "dog", "cat", "cow"))
    np.testing.assert_array_equal(pixels(images), squares[[1, 2, 0]])
    assert labels_of(images) == [0, 1, 2]


def test_class_folders_that_the_model_names_get_the_model_s_classes(tmp_path: Path, squares: np.ndarray) -> None:
    names = ["owl", "cow", "dog", "bee", "cat"]
    assert labels_of(opened(in_classes(tmp_path, squares, "cat", "dog"), names=names)) == [4, 2]


def test_class_folders_of_other_names_than_the_model_s_are_numbered_by_name(
    tmp_path: Path, squares: np.ndarray
) -> None:
    assert labels_of(opened(in_classes(tmp_path, squares, "7", "9"), names=["dog", "cat"])) == [0, 1]


def test_pictures_below_the_class_folders_leave_all_without_labels(tmp_path: Path, squares: np.ndarray) -> None:
    """train/cat and val/cat: the upper folders are no classes."""
    in_classes(tmp_path, squares, "a", "b")
    save(tmp_path / "b" / "more" / "x.png", squares[5])
    assert labels_of(opened(tmp_path)) is None


def test_a_folder_without_pictures_is_no_class(tmp_path: Path, squares: np.ndarray) -> None:
    in_classes(tmp_path, squares, "a", "b")
    (tmp_path / "__MACOSX").mkdir()
    assert labels_of(opened(tmp_path)) == [0, 1]


def test_a_picture_in_a_hidden_folder_is_not_used(tmp_path: Path, squares: np.ndarray) -> None:
    in_classes(tmp_path, squares, "a", "b")
    save(tmp_path / ".thumbs" / "x.png", squares[5])
    assert labels_of(opened(tmp_path)) == [0, 1]


def test_a_picture_beside_the_class_folders_leaves_all_without_labels(tmp_path: Path, squares: np.ndarray) -> None:
    save(in_classes(tmp_path, squares, "a", "b") / "stray.png", squares[6])
    assert labels_of(opened(tmp_path)) is None


def test_a_single_folder_is_no_class(tmp_path: Path, squares: np.ndarray) -> None:
    assert labels_of(opened(in_classes(tmp_path, squares, "a"))) is None


def test_a_hidden_folder_is_no_class(tmp_path: Path, squares: np.ndarray) -> None:
    in_classes(tmp_path, squares, "b", "c")
    (tmp_path / ".a").mkdir()
    assert labels_of(opened(tmp_path)) == [0, 1]


def test_more_class_folders_than_the_model_has_classes_are_refused(tmp_path: Path, squares: np.ndarray) -> None:
    in_classes(tmp_path, squares, "a", "b", "c")
    with pytest.raises(ImageError, match="labels go from 0 to 2, the model has 2 classes from 0 on"):
        open_images(tmp_path, RULE, None, 2, None, "--eval")


# Arrays in a folder


def test_images_npy_is_read_as_rgb(tmp_path: Path, squares: np.ndarray) -> None:
    np.save(tmp_path / "images.npy", squares)
    np.testing.assert_array_equal(pixels(opened(tmp_path)), squares)


def test_images_npy_without_labels_npy_has_no_labels(tmp_path: Path, squares: np.ndarray) -> None:
    np.save(tmp_path / "images.npy", squares)
    assert labels_of(opened(tmp_path)) is None


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.int64, ">i4"])
def test_labels_npy_may_be_of_any_whole_number_type(tmp_path: Path, squares: np.ndarray, kind: Any) -> None:
    np.save(tmp_path / "images.npy", squares)
    np.save(tmp_path / "labels.npy", np.array([6, 5, 4, 3, 2, 1, 0], kind))
    assert labels_of(opened(tmp_path)) == [6, 5, 4, 3, 2, 1, 0]


def test_images_npy_comes_before_pictures_beside_it(tmp_path: Path, squares: np.ndarray) -> None:
    np.save(tmp_path / "images.npy", squares)
    save(tmp_path / "a.png", squares[0])
    assert opened(tmp_path).count == 7


def test_an_images_npy_in_fortran_order_is_read_all_the_same(tmp_path: Path, squares: np.ndarray) -> None:
    np.save(tmp_path / "images.npy", np.asfortranarray(squares))
    np.testing.assert_array_equal(pixels(opened(tmp_path)), squares)


def test_an_images_npy_in_fortran_order_and_of_another_size_is_read_all_the_same(tmp_path: Path) -> None:
    large = np.random.default_rng(0).integers(0, 256, (2, 40, 30, 3), np.uint8)
    np.save(tmp_path / "images.npy", np.asfortranarray(large))
    np.testing.assert_array_equal(pixels(opened(tmp_path)), [RULE.apply(image, bgr=False) for image in large])


# A list


def test_a_list_gives_its_pictures_in_its_own_order(tmp_path: Path, squares: np.ndarray) -> None:
    for place in range(3):
        save(tmp_path / "below" / f"{place}.png", squares[place])
    images = opened(listed(tmp_path, "below/2.png\nbelow/0.png\n\n  \nbelow/1.png"))
    np.testing.assert_array_equal(pixels(images), squares[[2, 0, 1]])


def test_a_list_s_paths_are_of_its_own_folder(
    tmp_path: Path, squares: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "here" / "a.png", squares[0])
    listed(tmp_path / "here", "a.png\n")
    monkeypatch.chdir(tmp_path)
    assert opened(Path("here/list.txt")).count == 1


@pytest.mark.parametrize("separator", ["\t", " "])
def test_a_label_follows_after_a_tab_or_a_blank(tmp_path: Path, squares: np.ndarray, separator: str) -> None:
    for place in range(2):
        save(tmp_path / f"{place}.png", squares[place])
    assert labels_of(opened(listed(tmp_path, f"0.png{separator}6\n1.png{separator}0\n"))) == [6, 0]


def test_a_list_without_labels_has_none(tmp_path: Path, squares: np.ndarray) -> None:
    save(tmp_path / "a.png", squares[0])
    assert labels_of(opened(listed(tmp_path, "a.png\n"))) is None


@pytest.mark.parametrize(("end", "labels"), [("", None), (" 3", [3, 3]), ("\t3", [3, 3])])
def test_a_name_in_a_list_may_hold_blanks(
    tmp_path: Path, squares: np.ndarray, end: str, labels: list[int] | None
) -> None:
    for place, name in enumerate(("my cat 1.png", "2 dogs.png")):
        save(tmp_path / name, squares[place])
    images = opened(listed(tmp_path, f"my cat 1.png{end}\n2 dogs.png{end}\n"))
    assert (images.count, labels_of(images)) == (2, labels)


def test_a_name_in_a_list_may_be_of_any_script(tmp_path: Path, squares: np.ndarray) -> None:
    name = "\u732b.png"
    save(tmp_path / "a.png", squares[0]).rename(tmp_path / name)
    assert opened(listed(tmp_path, f"{name}\n")).count == 1


def test_a_list_may_come_with_windows_line_ends(tmp_path: Path, squares: np.ndarray) -> None:
    for place in range(2):
        save(tmp_path / f"{place}.png", squares[place])
    path = tmp_path / "list.txt"
    path.write_bytes(b"0.png 4\r\n1.png 5\r\n")
    assert labels_of(opened(path)) == [4, 5]


@pytest.mark.parametrize("way_out", ["../a.png", "below/../../a.png", "/etc/a.png", "link/a.png"])
def test_a_picture_outside_the_list_s_folder_is_refused_before_it_is_read(
    tmp_path: Path, squares: np.ndarray, way_out: str
) -> None:
    save(tmp_path / "a.png", squares[0])
    save(tmp_path / "home" / "in.png", squares[0])
    (tmp_path / "home" / "link").symlink_to(tmp_path)
    with pytest.raises(
        ImageError, match=r"list\.txt, line 2: .* lies outside .*home; put the list beside its pictures"
    ):
        opened(listed(tmp_path / "home", f"in.png\n{way_out}\n"))


def test_an_absolute_path_inside_the_list_s_folder_is_accepted(tmp_path: Path, squares: np.ndarray) -> None:
    assert opened(listed(tmp_path, f"{save(tmp_path / 'a.png', squares[0])}\n")).count == 1


def test_a_list_with_some_labels_names_the_picture_that_has_none(tmp_path: Path, squares: np.ndarray) -> None:
    for place in range(3):
        save(tmp_path / f"{place}.png", squares[place])
    with pytest.raises(ImageError, match=r"1\.png has no label, but other lines have one"):
        opened(listed(tmp_path, "0.png 1\n1.png\n2.png 2\n"))


def test_a_list_that_names_a_missing_picture_is_refused_by_that_name(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.png is not readable: No such file"):
        opened(listed(tmp_path, "gone.png\n"))


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xff\xfe\x80")
    with pytest.raises(ImageError, match=r"list\.txt is no readable list: .*utf-8"):
        opened(path)


def test_a_list_above_the_size_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LIST_BYTES", 1 << 20)
    with pytest.raises(ImageError, match=r"list\.txt has 2 MiB; the limit is 1 MiB"):
        opened(listed(tmp_path, "\n" * (2 << 20)))


@pytest.mark.parametrize("label", ["7", "99999999999999999999999999"])
def test_a_label_in_a_list_that_is_no_class_is_refused(tmp_path: Path, squares: np.ndarray, label: str) -> None:
    save(tmp_path / "a.png", squares[0])
    with pytest.raises(ImageError, match=r"labels go from \d+ to \d+, the model has 7 classes from 0 on"):
        opened(listed(tmp_path, f"a.png {label}\n"))


# An .npz


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", ["images", "image"])
def test_an_npz_is_read_as_rgb(tmp_path: Path, squares: np.ndarray, name: str, compressed: bool) -> None:
    path = saved_npz(tmp_path / "a.npz", compressed, **{name: squares})
    np.testing.assert_array_equal(pixels(opened(path)), squares)


def test_images_come_before_image_in_an_npz(tmp_path: Path, squares: np.ndarray) -> None:
    path = saved_npz(tmp_path / "a.npz", image=squares[:2], images=squares)
    assert opened(path).count == 7


@pytest.mark.parametrize("compressed", [False, True])
def test_an_npz_may_hold_labels(tmp_path: Path, squares: np.ndarray, compressed: bool) -> None:
    path = saved_npz(tmp_path / "a.npz", compressed, images=squares, labels=np.arange(7)[::-1])
    assert labels_of(opened(path)) == [6, 5, 4, 3, 2, 1, 0]


def test_an_npz_without_labels_has_none(tmp_path: Path, squares: np.ndarray) -> None:
    assert labels_of(opened(saved_npz(tmp_path / "a.npz", images=squares))) is None


def test_other_arrays_in_an_npz_do_not_matter(tmp_path: Path, squares: np.ndarray) -> None:
    path = saved_npz(tmp_path / "a.npz", names=np.array(["a"]), images=squares, features=np.ones((3, 3)))
    np.testing.assert_array_equal(pixels(opened(path)), squares)


@pytest.mark.parametrize("compressed", [False, True])
def test_reading_an_npz_takes_no_more_memory_for_more_images(tmp_path: Path, compressed: bool) -> None:
    side, total = 64, 400
    many = np.random.default_rng(0).integers(0, 256, (total, side, side, 3), np.uint8)
    path = saved_npz(tmp_path / "a.npz", compressed, images=many)
    image_bytes = many[0].nbytes
    tracemalloc.start()
    try:
        images = opened(path, rule=Preprocessing(side))
        count = sum(len(batch) for batch in images.batches(4))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == total
    # A batch and its pieces, zipfile's buffers, 100 bytes an image for its digest; all images would be 400.
    assert peak < 40 * image_bytes


def test_a_few_images_of_an_npz_do_not_need_the_rest_of_it(tmp_path: Path, squares: np.ndarray) -> None:
    path = saved_npz(tmp_path / "a.npz", images=squares)
    content = bytearray(path.read_bytes())
    place = bytes(content).index(squares[6].tobytes())
    content[place] ^= 255  # in the last image, which two of seven do not include
    path.write_bytes(content)
    np.testing.assert_array_equal(pixels(opened(path, count=2)), squares[[0, 3]])


# How many, and which


def test_a_count_below_the_number_spreads_evenly(tmp_path: Path, squares: np.ndarray) -> None:
    images = opened(saved_npz(tmp_path / "a.npz", images=squares), count=3)
    np.testing.assert_array_equal(pixels(images), squares[[0, 2, 4]])


@pytest.mark.parametrize("kind", ["folder", "npy", "npz", "list"])
def test_labels_are_those_of_the_chosen_images(tmp_path: Path, squares: np.ndarray, kind: str) -> None:
    path = tmp_path
    if kind == "npy":
        np.save(tmp_path / "images.npy", squares)
        np.save(tmp_path / "labels.npy", np.arange(7))
    elif kind == "npz":
        path = saved_npz(tmp_path / "a.npz", images=squares, labels=np.arange(7))
    else:
        in_classes(tmp_path, squares, *"0123456")
        path = listed(tmp_path, "".join(f"{i}/{i}.png {i}\n" for i in range(7))) if kind == "list" else path
    assert labels_of(opened(path, count=3)) == [0, 2, 4]


@settings(max_examples=60, deadline=None)
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


@pytest.mark.parametrize("count", [0, -1])
def test_a_count_below_one_is_a_usage_error(tmp_path: Path, count: int) -> None:
    with pytest.raises(UsageError, match=f"the number of images for --calib must be at least 1, found {count}"):
        opened(tmp_path, count=count)


# The hash


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


@pytest.mark.parametrize("change", [{"mean": (0.5, 0.5, 0.5)}, {"std": (0.5, 0.5, 0.5)}, {"fit": "stretch"}])
def test_another_preprocessing_changes_the_hash_even_where_pixels_stay(
    tmp_path: Path, squares: np.ndarray, change: dict[str, Any]
) -> None:
    path = saved_npz(tmp_path / "a.npz", images=squares)
    assert opened(path, rule=Preprocessing(SIZE, **change)).sha256 != opened(path).sha256


def test_labels_do_not_change_the_hash(tmp_path: Path, squares: np.ndarray) -> None:
    bare = opened(saved_npz(tmp_path / "a.npz", images=squares))
    labelled = opened(saved_npz(tmp_path / "b.npz", images=squares, labels=np.arange(7)))
    assert labelled.sha256 == bare.sha256


# Pictures of every kind


@pytest.fixture
def scene() -> np.ndarray:
    """(40, 60, 3) uint8 RGB, smooth, no two corners alike."""
    corners = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [200, 200, 40]]], np.uint8)
    return cv2.resize(corners, (60, 40))


@pytest.mark.parametrize("fit", ["crop", "stretch"])
def test_a_picture_of_another_size_goes_through_the_preprocessing_rule(
    tmp_path: Path, scene: np.ndarray, fit: Any
) -> None:
    rule = Preprocessing(SIZE, fit=fit)
    path = save(tmp_path / "a.png", scene).parent
    np.testing.assert_array_equal(pixels(opened(path, rule=rule))[0], rule.apply(scene[..., ::-1].copy()))


def test_an_array_of_another_size_goes_through_the_preprocessing_rule(tmp_path: Path, scene: np.ndarray) -> None:
    path = saved_npz(tmp_path / "a.npz", images=scene[None])
    np.testing.assert_array_equal(pixels(opened(path))[0], RULE.apply(scene[..., ::-1].copy()))


def test_a_picture_of_the_network_s_size_is_not_cropped(tmp_path: Path, squares: np.ndarray) -> None:
    path = save(tmp_path / "a.png", squares[0]).parent
    np.testing.assert_array_equal(pixels(opened(path))[0], squares[0])


def test_a_grey_picture_gets_three_equal_channels(tmp_path: Path, squares: np.ndarray) -> None:
    grey = squares[0, ..., 0].copy()
    save(tmp_path / "a.png", grey)
    np.testing.assert_array_equal(pixels(opened(tmp_path))[0], np.dstack([grey] * 3))


def test_a_16_bit_picture_is_scaled_to_8_bits(tmp_path: Path, squares: np.ndarray) -> None:
    save(tmp_path / "a.png", squares[0].astype(np.uint16) * 257)
    np.testing.assert_array_equal(pixels(opened(tmp_path))[0], squares[0])


def test_a_cmyk_jpeg_comes_out_in_rgb(tmp_path: Path, scene: np.ndarray) -> None:
    image = pytest.importorskip("PIL.Image")  # writes what OpenCV cannot
    image.fromarray(scene).convert("CMYK").save(tmp_path / "a.jpg", quality=95, subsampling=0)
    expected = RULE.apply(scene, bgr=False).astype(int)
    np.testing.assert_allclose(pixels(opened(tmp_path))[0].astype(int), expected, atol=JPEG_TOLERANCE)


# What is refused


def test_a_path_that_does_not_exist_is_refused_with_what_could_be_given(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"--calib .*gone does not exist; give a folder of pictures, a list"):
        opened(tmp_path / "gone")


def test_a_file_of_another_kind_is_refused_with_what_could_be_given(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1,2")
    with pytest.raises(ImageError, match=r"--calib .*a\.csv is none of: a folder, a list \(\.txt\), arrays \(\.npz\)"):
        opened(tmp_path / "a.csv")


def test_a_folder_without_pictures_is_refused_with_the_known_suffixes(tmp_path: Path) -> None:
    (tmp_path / "readme.md").write_text("none here")
    with pytest.raises(ImageError, match=r"holds no images: expected \.jpg, .*, or images\.npy"):
        opened(tmp_path)


def test_an_empty_list_holds_no_images(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="holds no images"):
        opened(listed(tmp_path, "\n\n"))


@pytest.mark.parametrize("labels", [{}, {"labels": np.zeros(0, int)}])
def test_an_npz_of_zero_images_holds_no_images(tmp_path: Path, squares: np.ndarray, labels: dict[str, Any]) -> None:
    with pytest.raises(ImageError, match="holds no images"):
        opened(saved_npz(tmp_path / "a.npz", images=squares[:0], **labels))


@pytest.mark.parametrize("content", [b"", b"no picture at all", b"\xff\xd8\xff"])
def test_an_unreadable_picture_is_named(tmp_path: Path, squares: np.ndarray, content: bytes) -> None:
    save(tmp_path / "a.png", squares[0])
    (tmp_path / "broken.jpg").write_bytes(content)
    with pytest.raises(ImageError, match=r"broken\.jpg is "):
        opened(tmp_path)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_truncated_picture_is_named(tmp_path: Path, squares: np.ndarray, suffix: str) -> None:
    whole = save(tmp_path / f"cut{suffix}", squares[0]).read_bytes()
    (tmp_path / f"cut{suffix}").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match=rf"cut\{suffix} is "):
        opened(tmp_path)


@pytest.mark.parametrize("count", [None, 2])
def test_one_image_repeated_is_refused(tmp_path: Path, squares: np.ndarray, count: int | None) -> None:
    path = saved_npz(tmp_path / "a.npz", images=squares[[0, 0, 0]])
    with pytest.raises(ImageError, match=r"all \d images are one and the same; give different ones"):
        opened(path, count)


def test_a_single_image_is_no_repetition(tmp_path: Path, squares: np.ndarray) -> None:
    assert opened(saved_npz(tmp_path / "a.npz", images=squares[:1])).count == 1


@pytest.mark.parametrize("wrong", [-1, 7])
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_labels_beyond_the_classes_are_refused(tmp_path: Path, squares: np.ndarray, wrong: int, kind: str) -> None:
    labels = np.array([0, 1, 2, wrong, 3, 4, 5])
    np.save(tmp_path / "images.npy", squares)
    np.save(tmp_path / "labels.npy", labels)
    path = tmp_path if kind == "npy" else saved_npz(tmp_path / "a.npz", images=squares, labels=labels)
    with pytest.raises(
        ImageError, match=rf"labels go from {min(wrong, 0)} to {max(wrong, 5)}, the model has 7 classes"
    ):
        opened(path)


WRONG_IMAGES = {
    "grey": np.zeros((3, 16, 16), np.uint8),
    "one channel": np.zeros((3, 16, 16, 1), np.uint8),
    "alpha": np.zeros((3, 16, 16, 4), np.uint8),
    "channels first": np.zeros((3, 3, 16, 16), np.uint8),
    "float": np.zeros((3, 16, 16, 3), np.float32),
    "int8": np.zeros((3, 16, 16, 3), np.int8),
    "16 bit": np.zeros((3, 16, 16, 3), np.uint16),
    "one picture": np.zeros((16, 16, 3), np.uint8),
    "a number": np.zeros((), np.uint8),
}


@pytest.mark.parametrize("kind", ["npy", "npz"])
@pytest.mark.parametrize("wrong", WRONG_IMAGES)
def test_arrays_that_are_no_rgb_pictures_are_refused_by_shape_and_type(tmp_path: Path, wrong: str, kind: str) -> None:
    array = WRONG_IMAGES[wrong]
    np.save(tmp_path / "images.npy", array)
    path = tmp_path if kind == "npy" else saved_npz(tmp_path / "a.npz", images=array)
    with pytest.raises(ImageError, match=r"images must be \(N, H, W, 3\) uint8 RGB, found \(.*\) \w+"):
        opened(path)


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_arrays_of_images_without_pixels_are_refused(tmp_path: Path, kind: str) -> None:
    array = np.zeros((3, 0, 16, 3), np.uint8)
    with (tmp_path / "images.npy").open("wb") as file:
        np.save(file, array)
        file.write(b"\0")  # an array without bytes cannot be mapped
    path = tmp_path if kind == "npy" else saved_npz(tmp_path / "a.npz", images=array)
    with pytest.raises(ImageError, match=r"images must have pixels, found \(3, 0, 16, 3\)"):
        opened(path)


WRONG_LABELS = {
    "too few": np.arange(6),
    "too many": np.arange(8) % 7,
    "two columns": np.zeros((7, 2), int),
    "one hot": np.eye(7, dtype=int),
    "a number": np.array(3),
    "float": np.arange(7.0),
    "text": np.array(list("0123456")),
    "bool": np.zeros(7, bool),
}


@pytest.mark.parametrize("kind", ["npy", "npz"])
@pytest.mark.parametrize("wrong", WRONG_LABELS)
def test_labels_that_are_not_one_whole_number_an_image_are_refused(
    tmp_path: Path, squares: np.ndarray, wrong: str, kind: str
) -> None:
    np.save(tmp_path / "images.npy", squares)
    np.save(tmp_path / "labels.npy", WRONG_LABELS[wrong])
    path = saved_npz(tmp_path / "a.npz", images=squares, labels=WRONG_LABELS[wrong]) if kind == "npz" else tmp_path
    with pytest.raises(ImageError, match=r"(labels must be \(7,\)|must hold 7) whole numbers"):
        opened(path)


def test_an_npz_without_images_is_refused_with_what_it_holds(tmp_path: Path, squares: np.ndarray) -> None:
    with pytest.raises(ImageError, match=r"a\.npz has no array `images`; found labels, pictures"):
        opened(saved_npz(tmp_path / "a.npz", pictures=squares, labels=np.arange(7)))


def test_an_npz_in_fortran_order_is_refused(tmp_path: Path, squares: np.ndarray) -> None:
    with pytest.raises(ImageError, match="arrays must be in C order"):
        opened(saved_npz(tmp_path / "a.npz", images=np.asfortranarray(squares)))


def test_an_images_npy_that_is_an_archive_is_refused(tmp_path: Path, squares: np.ndarray) -> None:
    saved_npz(tmp_path / "a.npz", images=squares).rename(tmp_path / "images.npy")
    with pytest.raises(ImageError, match=r"images\.npy is an archive of arrays \(\.npz\); expected one array"):
        opened(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"not an array", b"\x93NUMPY\x09\x09\x00\x00"])
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_an_array_that_is_none_is_refused(tmp_path: Path, content: bytes, kind: str) -> None:
    (tmp_path / "images.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("images.npy", content)
    path = tmp_path if kind == "npy" else tmp_path / "a.npz"
    with pytest.raises(ImageError, match=r"images\.npy is not a readable array|a\.npz is no readable \.npz"):
        opened(path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_an_images_npy_that_was_cut_short_is_refused(tmp_path: Path, squares: np.ndarray, share: float) -> None:
    path = tmp_path / "images.npy"
    np.save(path, squares)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ImageError, match=r"images\.npy is not a readable array"):
        opened(tmp_path)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_an_npz_that_was_cut_short_is_refused(
    tmp_path: Path, squares: np.ndarray, share: float, compressed: bool
) -> None:
    path = saved_npz(tmp_path / "a.npz", compressed, images=squares)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ImageError, match=r"a\.npz is no readable \.npz"):
        opened(path)


def test_an_npz_with_a_flipped_bit_is_refused(tmp_path: Path, squares: np.ndarray) -> None:
    path = saved_npz(tmp_path / "a.npz", images=squares)
    content = bytearray(path.read_bytes())
    content[bytes(content).index(squares[6].tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.npz is damaged at image \d: Bad CRC-32"):
        opened(path)


def test_an_npz_whose_compression_breaks_is_refused_at_the_image(tmp_path: Path) -> None:
    many = np.random.default_rng(0).integers(0, 256, (200, SIZE, SIZE, 3), np.uint8)
    array = io.BytesIO()
    np.save(array, many)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=0) as file:
        file.writestr("images.npy", array.getvalue())
    content = bytearray((tmp_path / "a.npz").read_bytes())
    first = 30 + len("images.npy")  # blocks of bytes as they are, each behind five bytes: its kind, its length twice
    second = first + 5 + int.from_bytes(content[first + 1 : first + 3], "little")
    content[second] |= 0b110  # a kind of block that does not exist
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.npz is damaged at image [1-9]\d*: .*invalid block type"):
        opened(tmp_path / "a.npz")


def npz_that_claims(path: Path, shape: tuple[int, ...], body: bytes) -> Path:
    """A sound archive of an array whose header promises more than there is."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("images.npy", header.getvalue() + body)
    return path


def test_an_array_that_ends_before_its_shape_does_is_refused(tmp_path: Path, squares: np.ndarray) -> None:
    path = npz_that_claims(tmp_path / "a.npz", (8, SIZE, SIZE, 3), squares.tobytes())
    with pytest.raises(ImageError, match=r"a\.npz claims 8 images, but holds \d+ bytes"):
        opened(path)


@pytest.mark.parametrize("shape", [(10**12, SIZE, SIZE, 3), (7, 9000, 9000, 3)])
def test_a_shape_that_claims_terabytes_is_refused_without_making_room_for_them(
    tmp_path: Path, squares: np.ndarray, shape: tuple[int, ...]
) -> None:
    path = npz_that_claims(tmp_path / "a.npz", shape, squares.tobytes())
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match=r"a\.npz claims \d+ images, but holds"):
            opened(path, count=5)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("shape", [(-1, SIZE, SIZE, 3), (1, -SIZE, SIZE, 3), (1, -SIZE, -SIZE, 3)])
def test_a_negative_shape_is_refused(tmp_path: Path, squares: np.ndarray, shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="images must have pixels"):
        opened(npz_that_claims(tmp_path / "a.npz", shape, squares.tobytes()))


@pytest.mark.parametrize("line", ["a0.png  0", "a0.png \t0", "a0.png\t\t0", "\ufeffa0.png 0"])
def test_blanks_before_a_label_and_a_byte_order_mark_are_not_of_the_name(
    tmp_path: Path, squares: np.ndarray, line: str
) -> None:
    for index in range(2):
        save(tmp_path / f"a{index}.png", squares[index])
    (tmp_path / "list.txt").write_text(f"{line}\na1.png 1\n", "utf-8")
    assert labels_of(opened(tmp_path / "list.txt")) == [0, 1]


def test_a_name_that_no_file_can_have_is_told(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a\0b.png\n", "utf-8")
    with pytest.raises(ImageError, match=r"line 1: .* is no path"):
        opened(tmp_path / "list.txt")


def test_an_image_larger_than_any_picture_may_be_is_refused(tmp_path: Path, squares: np.ndarray) -> None:
    with pytest.raises(ImageError, match=r"images must be .* found \(7, 10000, 10000, 3\)"):
        opened(npz_that_claims(tmp_path / "a.npz", (7, 10_000, 10_000, 3), squares.tobytes()))


def test_an_npz_that_is_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.npz")
    with pytest.raises(ImageError, match=r"a\.npz is no regular file"):
        opened(tmp_path / "a.npz")


@pytest.mark.parametrize("suffix", [".npz", ".txt"])
def test_a_missing_file_is_refused_with_the_system_s_reason(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(ImageError, match="is not readable: No such file"):
        opened(tmp_path / f"a{suffix}")


# A file never runs code


class Bomb:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "it ran"


@pytest.mark.parametrize("place", ["images", "labels"])
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_an_object_array_is_refused_and_not_unpickled(
    tmp_path: Path, squares: np.ndarray, mark: Path, place: str, kind: str
) -> None:
    objects = np.array([Bomb(mark)] * 7, object)
    arrays = {"images": squares} | {place: objects}
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array, allow_pickle=True)
    path = tmp_path if kind == "npy" else saved_npz(tmp_path / "a.npz", **arrays)
    with pytest.raises(ImageError):
        opened(path)
    assert not mark.exists()


@pytest.mark.parametrize("place", ["images", "labels"])
def test_a_pickle_named_npy_is_refused_and_not_unpickled(
    tmp_path: Path, squares: np.ndarray, mark: Path, place: str
) -> None:
    np.save(tmp_path / "images.npy", squares)
    (tmp_path / f"{place}.npy").write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(ImageError, match=rf"{place}\.npy is not a readable array: .*pickle"):
        opened(tmp_path)
    assert not mark.exists()


def test_the_bomb_of_these_tests_does_go_off_where_pickles_are_allowed(tmp_path: Path, mark: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([Bomb(mark)], object), allow_pickle=True)
    np.load(tmp_path / "a.npy", allow_pickle=True)
    assert mark.exists()
