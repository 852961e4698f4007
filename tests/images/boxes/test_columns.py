"""Boxes in a CSV: which columns hold them, how rows of one picture join, and what is refused with its line and its cure."""

from __future__ import annotations

from pathlib import Path

import pytest

from sacvit.bundle.errors import ImageError
from sacvit.images.boxes.columns import MOST_BOXES
from sacvit.images.lists import Listed, read_csv

HEAD = "path,label,x,y,w,h\n"


def csv_of(folder: Path, text: str) -> Listed:
    (folder / "list.csv").write_text(text)
    return read_csv(folder / "list.csv")


def corners(found: Listed) -> list[list[tuple[float, ...]]]:
    assert found.boxes is not None
    return [[(box.left, box.top, box.width, box.height) for box in boxes] for boxes in found.boxes]


@pytest.mark.parametrize(
    "text",
    [
        f"{HEAD}a.png,cat,1,2,30,4.5\nb.png,ant,0,0,5,5\n",
        "h,w,y,x,id,label,file\n4.5,30,2,1,7,cat,a.png\n5,5,0,0,8,ant,b.png\n",
        "Path;Label;X;Y;Width;Height\na.png;cat;1;2;30;4.5\nb.png;ant;0;0;5;5\n",
    ],
    ids=["the six columns", "another order, and a column beside them", "words for w and h"],
)
def test_columns_of_boxes_are_found_by_their_names(tmp_path: Path, text: str) -> None:
    found = csv_of(tmp_path, text)
    assert (found.names, found.labels) == (["a.png", "b.png"], ["cat", "ant"])
    assert corners(found) == [[(1, 2, 30, 4.5)], [(0, 0, 5, 5)]]


def test_rows_of_one_picture_are_its_boxes(tmp_path: Path) -> None:
    found = csv_of(tmp_path, f"{HEAD}a.png,cat,1,1,2,2\nb.png,ant,0,0,5,5\n./a.png,cat,7,7,2,2\n")
    assert (found.names, found.labels) == (["a.png", "b.png"], ["cat", "ant"])
    assert corners(found) == [[(1, 1, 2, 2), (7, 7, 2, 2)], [(0, 0, 5, 5)]]


@pytest.mark.parametrize(
    "text",
    ["path,label,w,h\na.png,cat,640,480\n", "path,label\na.png,cat\n", "x,y\na.png,cat\n"],
    ids=["a picture's own size", "no more than path and label", "path and label called x and y"],
)
def test_other_columns_are_no_boxes(tmp_path: Path, text: str) -> None:
    found = csv_of(tmp_path, text)
    assert (found.names, found.labels, found.boxes) == (["a.png"], ["cat"], None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{HEAD}a.png,cat,1,1,2,2\nb.png,cat,1,1,0,2\n", r"line 3: the box has w = 0 and h = 2; both must be above 0"),
        (f"{HEAD}a.png,cat,1,1,2,-2\n", r"line 2: the box has w = 2 and h = -2"),
        (f"{HEAD}a.png,cat,1,left,2,2\n", r"line 2: y is 'left', which is no number"),
        (f"{HEAD}a.png,cat,nan,1,2,2\n", r"line 2: x is 'nan', which is no number"),
        (f"{HEAD}a.png,cat,1,1,1e400,2\n", r"line 2: w is '1e400', which is no number"),
        ('path;label;x;y;w;h\na.png;cat;"1,5";1;2;2\n', r"line 2: x is '1,5', which is no number such as 12 or 12\.5"),
        (f"{HEAD}a.png,cat,1,1,2,2\nb.png,cat,,,,\n", r"line 3: x is empty, so this picture has no box"),
    ],
)
def test_what_is_no_box_is_refused_with_its_line_and_the_cure(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ImageError, match=rf"list\.csv, {words}.*(remove the four columns)"):
        csv_of(tmp_path, text)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("path,label,x,y,w", "the column h is missing"),
        ("path,label,y,w,h", "the column x is missing"),
        ("path,label,x,y,w,width,h", "the column w is named twice"),
    ],
)
def test_a_header_without_one_of_the_four_columns_is_refused(tmp_path: Path, head: str, words: str) -> None:
    with pytest.raises(ImageError, match=rf"list\.csv, line 1: {words}\. .*add it, or rename the columns"):
        csv_of(tmp_path, f"{head}\na.png,cat,1,1,1,1,1\n")


def test_boxes_without_a_header_are_refused_with_the_header_that_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"list\.csv, line 1: .*found 6 fields.*such as path,label,x,y,w,h"):
        csv_of(tmp_path, "a.png,cat,1,1,2,2\n")


def test_a_picture_with_two_labels_is_refused_with_both_lines(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"line 3: a\.png is labelled ant, but cat in line 2\. .*keep the boxes"):
        csv_of(tmp_path, f"{HEAD}a.png,cat,1,1,2,2\na.png,ant,1,1,2,2\n")


def test_a_picture_of_countless_boxes_is_refused(tmp_path: Path) -> None:
    rows = "a.png,cat,1,1,2,2\n" * (MOST_BOXES + 1)
    with pytest.raises(ImageError, match=rf"line {MOST_BOXES + 2}: a\.png has more than {MOST_BOXES} boxes"):
        csv_of(tmp_path, HEAD + rows)
