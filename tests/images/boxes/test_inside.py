"""A box that reaches out of its picture is refused before any pass, whatever way the picture is turned."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from sacvit.bundle.errors import ImageError
from sacvit.images.boxes.inside import SLACK
from sacvit.images.labelled import open_labelled

WIDTH, HEIGHT = 40, 24
TURNED = b"\xff\xe1\x00\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # by a quarter


@pytest.fixture
def listed(tmp_path):
    """A function that writes a list of two pictures of 40 x 24 pixels, and opens it; `box` is of the second."""
    for name in ("a.jpg", "b.jpg"):
        assert cv2.imwrite(str(tmp_path / name), np.zeros((HEIGHT, WIDTH, 3), np.uint8))

    def write(box):
        (tmp_path / "list.csv").write_text(f"path,label,x,y,w,h\na.jpg,0,0,0,40,24\nb.jpg,1,{box}\n")
        return open_labelled(tmp_path / "list.csv", 2, None)

    return write


@pytest.mark.parametrize(
    ("box", "corners"),
    [
        ("-3,0,10,10", r"\(-3, 0\) to \(7, 10\)"),
        ("0,-2.5,10,10", r"\(0, -2\.5\) to \(10, 7\.5\)"),
        ("35,0,10,10", r"\(35, 0\) to \(45, 10\)"),
        ("0,20,10,10", r"\(0, 20\) to \(10, 30\)"),
        ("400,200,10,10", r"\(400, 200\) to \(410, 210\)"),
    ],
    ids=["left", "above", "right", "below", "wholly outside"],
)
def test_a_box_outside_is_refused_with_its_line_the_picture_s_size_and_the_cure(listed, box, corners):
    words = rf"list\.csv, line 3: the box from {corners} reaches out of b\.jpg, which has 40 x 24 pixels\. .*correct the row"
    with pytest.raises(ImageError, match=words):
        listed(box)


def test_a_pixel_beyond_the_edge_is_rounding(listed):
    assert SLACK == 1
    found = listed("-1,-1,42,26")
    assert found.boxes[1][0].width == 42


def test_a_picture_that_its_orientation_turns_has_the_size_as_it_is_shown(tmp_path, listed):
    path = tmp_path / "b.jpg"
    content = path.read_bytes()
    path.write_bytes(content[:2] + TURNED + content[2:])
    assert cv2.imread(str(path)).shape == (WIDTH, HEIGHT, 3)
    listed("0,0,24,40")
    with pytest.raises(ImageError, match="which has 24 x 40 pixels"):
        listed("0,0,40,24")


def test_a_picture_that_cannot_be_read_is_left_to_the_passes(tmp_path, listed):
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    assert len(listed("0,0,4000,4000").boxes) == 2


def test_boxes_do_not_change_the_key_of_the_answers(tmp_path, listed):
    with_boxes = listed("0,0,4,4").key
    (tmp_path / "list.csv").write_text("path,label\na.jpg,0\nb.jpg,1\n")
    assert open_labelled(tmp_path / "list.csv", 2, None).key == with_boxes
