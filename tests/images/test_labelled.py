"""Labelled images: what sacvit-tune takes, what it refuses, and the key that tells one data set from another."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from sacvit.bundle.errors import ImageError
from sacvit.images.labelled import open_labelled

NAMES = ["ant", "bee", "cat"]


def picture(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((4, 4, 3), value, np.uint8))


@pytest.fixture
def folders(tmp_path):
    """Two pictures of cat, one of ant and one of bee below it."""
    for value, name in enumerate(("cat/1.png", "cat/deep/2.png", "ant/1.png", "bee/1.png")):
        picture(tmp_path / "data" / name, value)
    return tmp_path / "data"


@pytest.fixture
def listed(tmp_path):
    """A function that writes a list beside three pictures, and returns its path."""
    for value, name in enumerate(("a.png", "b, c.png", "sub/d.png")):
        picture(tmp_path / name, value)

    def write(text, encoding="utf-8"):
        path = tmp_path / "list.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def arrays(folder, images, labels):
    folder.mkdir(exist_ok=True)
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", labels)
    return folder


def refusal(path, classes=3, names=None):
    with pytest.raises(ImageError) as fault:
        open_labelled(path, classes, names)
    return str(fault.value)


def test_folders_are_classes_by_the_model_s_names(folders):
    found = open_labelled(folders, 3, ["cat", "bee", "ant"])
    assert dict(zip(found.names, found.labels.tolist(), strict=True)) == {
        "ant/1.png": 2, "bee/1.png": 1, "cat/1.png": 0, "cat/deep/2.png": 0,
    }  # fmt: skip


def test_an_image_is_read_as_it_stands(folders):
    found = open_labelled(folders, 3, None)
    assert [int(found.read(index)[0, 0, 0]) for index in range(found.count)] == [2, 3, 0, 1]


def test_one_image_is_too_few(tmp_path):
    picture(tmp_path / "ant" / "a.png")
    assert "holds 1 images" in refusal(tmp_path, 1)


def test_a_list_of_many_lines_finds_a_repeated_one_without_counting_each(listed):
    """Ten times the lines take about ten times as long; counting each name in all would take a hundred times."""
    import time

    def seconds(count: int) -> float:
        path = listed("a.png,0\n" + "".join(f"{index},0\n" for index in range(count)) + f"{count - 1},1\n")
        began = time.process_time()
        assert f"{count - 1} is listed twice" in refusal(path, 3, NAMES)
        return time.process_time() - began

    short = max(seconds(1_000) for _ in range(3))
    assert seconds(10_000) < 40 * short


def test_arrays_are_rgb_and_read_as_bgr(tmp_path):
    images = np.zeros((2, 4, 4, 3), np.uint8)
    images[..., 0] = 200
    found = open_labelled(arrays(tmp_path, images, np.array([1, 0])), 2, None)
    assert found.labels.tolist() == [1, 0] and found.read(0)[0, 0].tolist() == [0, 0, 200]


def test_arrays_are_not_kept_mapped(tmp_path):
    """Pages that a mapping has seen count as this process's memory: 7.5 GB of ImageNet's validation set."""
    data = open_labelled(arrays(tmp_path, np.zeros((2, 4, 4, 3), np.uint8), np.zeros(2, int)), 3, None)
    data.read(1)
    assert str(tmp_path / "images.npy") not in Path("/proc/self/maps").read_text()


def test_arrays_that_were_cut_after_they_were_opened_are_told_when_they_are_read(tmp_path):
    data = open_labelled(arrays(tmp_path, np.zeros((2, 4, 4, 3), np.uint8), np.zeros(2, int)), 3, None)
    os.truncate(tmp_path / "images.npy", 150)
    with pytest.raises(ImageError, match=r"images\.npy is not a readable array"):
        data.read(1)


def test_the_key_stays_when_nothing_changes(folders):
    assert open_labelled(folders, 3, None).key == open_labelled(folders, 3, None).key


def test_another_size_is_another_key(folders):
    before = open_labelled(folders, 3, None).key
    path = folders / "ant" / "1.png"
    found = path.stat()
    path.write_bytes(path.read_bytes() + b"\0")
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert open_labelled(folders, 3, None).key != before


def test_another_time_of_change_is_another_key(folders):
    before = open_labelled(folders, 3, None).key
    os.utime(folders / "ant" / "1.png", ns=(1, 1))
    assert open_labelled(folders, 3, None).key != before


def test_another_label_is_another_key(listed):
    before = open_labelled(listed("a.png,0\nsub/d.png,1\n"), 3, None).key
    assert open_labelled(listed("a.png,0\nsub/d.png,2\n"), 3, None).key != before


def test_other_labels_of_arrays_are_another_key(tmp_path):
    images = np.zeros((2, 4, 4, 3), np.uint8)
    before = open_labelled(arrays(tmp_path, images, np.array([0, 1])), 3, None).key
    np.save(tmp_path / "labels.npy", np.array([0, 2]))
    assert open_labelled(tmp_path, 3, None).key != before


def test_a_listed_picture_that_is_missing_is_told_when_it_is_read(listed):
    found = open_labelled(listed("a.png,0\ngone.png,1\n"), 3, None)
    with pytest.raises(ImageError, match=r"gone\.png is not readable"):
        found.read(1)


def test_an_empty_class_folder_is_passed_over(folders):
    """As __MACOSX, which a zip file from a Mac brings."""
    (folders / "__MACOSX").mkdir()
    assert open_labelled(folders, 3, NAMES).count == 4


@pytest.mark.parametrize("name", ["camera0/a.png", "a.png"], ids=["no class of the model", "no folder"])
def test_pictures_without_labels_are_refused(tmp_path, name):
    for place in range(2):
        picture(tmp_path / name.replace("a", "ab" * (place + 1), 1))
    assert str(tmp_path) in refusal(tmp_path, 3, NAMES)


def test_the_option_is_named(tmp_path):
    with pytest.raises(ImageError, match=r"--report-data .* does not exist"):
        open_labelled(tmp_path / "gone", 3, NAMES, "--report-data")
