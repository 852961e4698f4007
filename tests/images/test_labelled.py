"""Folders, lists and arrays of labelled pictures: what is read, and what is refused by name."""

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


# Folders


def test_folders_are_classes_by_the_model_s_names(folders):
    found = open_labelled(folders, 3, ["cat", "bee", "ant"])
    assert dict(zip(found.names, found.labels.tolist(), strict=True)) == {
        "ant/1.png": 2, "bee/1.png": 1, "cat/1.png": 0, "cat/deep/2.png": 0,
    }  # fmt: skip


def test_folders_without_names_count_in_order(folders):
    assert open_labelled(folders, 3, None).labels.tolist() == [0, 1, 2, 2]


def test_folders_that_are_numbers_are_these_classes(tmp_path):
    for name in ("10/a.png", "2/a.png"):
        picture(tmp_path / name)
    found = open_labelled(tmp_path, 11, [f"class {index}" for index in range(11)])
    assert dict(zip(found.names, found.labels.tolist(), strict=True)) == {"10/a.png": 10, "2/a.png": 2}


def test_numbers_that_the_model_has_as_names_are_names(tmp_path):
    for name in ("10/a.png", "2/a.png"):
        picture(tmp_path / name)
    assert open_labelled(tmp_path, 2, ["10", "2"]).labels.tolist() == [0, 1]


def test_an_image_is_read_as_it_stands(folders):
    found = open_labelled(folders, 3, None)
    assert [int(found.read(index)[0, 0, 0]) for index in range(found.count)] == [2, 3, 0, 1]


def test_an_empty_class_is_told_by_name(folders):
    (folders / "dog").mkdir()
    (folders / "dog" / "notes.txt").write_text("")
    assert "no picture in dog: remove empty classes" in refusal(folders, 4)


def test_one_image_is_too_few(tmp_path):
    picture(tmp_path / "ant" / "a.png")
    assert "holds 1 images" in refusal(tmp_path, 1)


def test_a_folder_that_is_no_class_of_the_model_is_told_with_the_nearest(folders):
    assert "1 labels are no class of the model, as 'bee' (did you mean beer?)" in refusal(
        folders, 3, ["ant", "beer", "cat"]
    )


def test_fewer_folders_than_classes_without_names_are_refused(folders):
    assert "3 names of classes, the model has 5 and carries no names" in refusal(folders, 5)


def test_a_folder_of_pictures_without_classes_is_refused(tmp_path):
    picture(tmp_path / "a.png")
    assert "has no folders: one folder of pictures a class" in refusal(tmp_path)


def test_hidden_folders_are_no_classes(folders):
    picture(folders / ".thumbs" / "a.png")
    assert open_labelled(folders, 3, None).count == 4


def test_a_path_that_is_not_there_is_told(tmp_path):
    assert "does not exist" in refusal(tmp_path / "nowhere")


def test_a_file_that_is_no_list_is_told(tmp_path):
    (tmp_path / "list.txt").write_text("a.png,0\n")
    assert "is neither a folder nor a .csv file" in refusal(tmp_path / "list.txt")


def test_a_name_of_two_classes_is_refused_and_numbers_are_offered(folders):
    """ImageNet has two cranes and two maillots."""
    refused = refusal(folders, 4, ["ant", "bee", "cat", "cat"])
    assert (
        "2 classes of the model are called 'cat', so which is meant is open. Give labels as numbers, 0 to 3" in refused
    )


def test_a_name_of_two_classes_that_no_label_uses_is_none_of_our_business(folders):
    assert open_labelled(folders, 5, ["ant", "bee", "cat", "emu", "emu"]).count == 4


# Lists


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ('a.png,cat\n"b, c.png",ant\nsub/d.png,cat\n', "utf-8"),
        ('path,label\na.png,cat\n"b, c.png",ant\nsub/d.png,cat\n', "utf-8"),
        ('Path, Label\r\na.png, cat\r\n"b, c.png",ant\r\n\r\nsub/../sub/d.png,cat', "utf-8-sig"),
    ],
    ids=["bare", "header", "BOM, CRLF, blanks"],
)
def test_a_list_names_paths_and_labels(listed, text, encoding):
    found = open_labelled(listed(text, encoding), 3, NAMES)
    assert (list(found.names), found.labels.tolist()) == (["a.png", "b, c.png", "sub/d.png"], [2, 0, 2])


def test_a_list_may_name_classes_by_number(listed):
    assert open_labelled(listed("a.png,2\nsub/d.png,0\n"), 3, NAMES).labels.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a.png,cat\nsub/d.png\n", "line 2: a path and a label are wanted, found 1 fields"),
        ("a.png,cat\nsub/d.png,\n", "line 2: a path and a label are wanted"),
        ("a.png,cat,1\n", "line 1: a path and a label are wanted, found 3 fields"),
        ("a.png,cat\n../d.png,cat\n", "line 2: ../d.png lies outside"),
        ("a.png,cat\n/etc/passwd,cat\n", "line 2: /etc/passwd lies outside"),
        ("a.png,cat\nsub/d.png,cat\nsub/../a.png,ant\n", "a.png stands there twice"),
        ("", "holds 0 images"),
        ("path,label\n", "holds 0 images"),
        ("a.png,cat\n", "holds 1 images"),
        ("a.png,cat\nsub/d.png,catt\n", "'catt' (did you mean cat?)"),
        ("a.png,0\nsub/d.png,7\n", "labels go from 0 to 7, the model has 3 classes"),
        ("a.png,0\nsub/d.png,-1\n", "'0'. Give the names"),
        ("a.png,0\na\0.png,1\n", "is no readable CSV"),
        (f"a.png,0\n{'x' * 5000},1\n", "is no readable CSV: field larger than field limit"),
    ],
)
def test_a_list_that_cannot_be_meant_is_told(listed, text, words):
    assert words in refusal(listed(text), 3, NAMES)


def test_a_list_that_is_no_text_is_told(listed):
    assert "is no readable CSV" in refusal(listed("a.png,caf\xe9\n", "latin-1"), 3, NAMES)


def test_a_link_out_of_the_list_s_folder_is_refused(listed, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    picture(elsewhere / "x.png")
    path = listed("a.png,0\nx.png,1\n")
    (path.parent / "x.png").symlink_to(elsewhere / "x.png")
    assert "x.png lies outside" in refusal(path, 3, NAMES)


def test_a_list_of_many_lines_finds_a_repeated_one_at_once(listed):
    """Not by counting each name in all: of 20 000 that takes half a minute."""
    import time

    path = listed("".join(f"{index},0\n" for index in range(20_000)) + "19999,1\n")
    began = time.process_time()
    assert "19999 stands there twice" in refusal(path, 3, NAMES)
    assert time.process_time() - began < 5


def test_a_list_that_is_too_large_is_not_read(listed, monkeypatch):
    monkeypatch.setattr("sacvit.images.labelled.MAX_LIST_BYTES", 10)
    assert "the limit is 10" in refusal(listed("a.png,0\nsub/d.png,1\n"))


# Arrays


def test_arrays_are_rgb_and_read_as_bgr(tmp_path):
    images = np.zeros((2, 4, 4, 3), np.uint8)
    images[..., 0] = 200
    found = open_labelled(arrays(tmp_path, images, np.array([1, 0])), 2, None)
    assert found.labels.tolist() == [1, 0] and found.read(0)[0, 0].tolist() == [0, 0, 200]


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (np.zeros((2, 4, 4), np.uint8), np.zeros(2, int), "images must be (N, H, W, 3) uint8 RGB, found uint8 (2, 4, 4)"),
        (np.zeros((2, 4, 4, 3), np.float32), np.zeros(2, int), "found float32 (2, 4, 4, 3)"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros(3, int), "must hold 2 whole numbers, found int64 (3,)"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros((2, 1), int), "found int64 (2, 1)"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros(2), "found float64 (2,)"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.array([0, 9]), "labels go from 0 to 9, the model has 3 classes"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.array([0, 2**63], np.uint64), "the model has 3 classes"),
        (np.zeros((0, 4, 4, 3), np.uint8), np.zeros(0, int), "holds 0 images"),
    ],
)  # fmt: skip
def test_arrays_of_a_wrong_shape_are_told(tmp_path, images, labels, words):
    assert words in refusal(arrays(tmp_path, images, labels))


def test_images_without_labels_are_told(tmp_path):
    arrays(tmp_path, np.zeros((2, 4, 4, 3), np.uint8), np.zeros(2, int))
    (tmp_path / "labels.npy").unlink()
    assert "labels.npy is not a readable array" in refusal(tmp_path)


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


# The key


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
