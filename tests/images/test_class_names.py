"""Files of class names, and which class a label is: never one that was made up."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit.bundle.errors import ImageError, UsageError
from sacvit.images.class_names import UnknownClassesError, class_numbers, read_class_names

TOOLS = ["bolt", "nut", "screw"]


def names_in(folder: Path, content: bytes, classes: int | None = None) -> list[str]:
    (folder / "names.txt").write_bytes(content)
    return read_class_names(folder / "names.txt", "--labels", classes)


@pytest.mark.parametrize(
    "content",
    [
        b"cat\ntree frog\n",
        b"cat\ntree frog",
        b"\xef\xbb\xbfcat\ntree frog\n",
        b"cat\r\ntree frog\r\n\r\n",
        b"cat \ntree frog\n  \n\n",
        "cat\r\ntree frog\r\n".encode("utf-16"),
    ],
    ids=["plain", "no last newline", "BOM", "Windows", "blank lines at the end", "UTF-16"],
)
def test_class_names_are_the_lines(tmp_path: Path, content: bytes) -> None:
    assert names_in(tmp_path, content, 2) == ["cat", "tree frog"]


def test_a_name_may_hold_what_unicode_takes_for_the_end_of_a_line(tmp_path: Path) -> None:
    assert names_in(tmp_path, "a\u2028b\nc\x85d\n".encode()) == ["a\u2028b", "c\x85d"]


def test_a_blank_line_in_the_middle_is_refused_with_its_number(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--labels .*names\.txt, line 2 is blank"):
        names_in(tmp_path, b"cat\n\ndog\n")


def test_another_number_of_names_than_classes_is_refused_with_both(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"names\.txt has 2 names, the model has 3 classes"):
        names_in(tmp_path, b"cat\ndog\n", 3)


def test_what_is_no_utf_8_is_refused_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"names\.txt is no UTF-8 text .*Save it as UTF-8"):
        names_in(tmp_path, "Käfer\n".encode("latin-1"))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--labels .*gone\.txt is not readable: No such file"):
        read_class_names(tmp_path / "gone.txt", "--labels")


# Which class a label is


def test_names_of_the_model_come_first_also_a_few_of_them() -> None:
    assert class_numbers("data", ["screw", "nut"], 3, TOOLS) == {"screw": 2, "nut": 1}


def test_numbers_that_are_names_of_the_model_are_names() -> None:
    assert class_numbers("data", ["10", "2"], 2, ["10", "2"]) == {"10": 0, "2": 1}


@given(st.sets(st.integers(0, 11), min_size=1))
def test_numbers_are_the_classes_and_no_ranks(numbers: set[int]) -> None:
    found = class_numbers("data", sorted(map(str, numbers)), 12, None)
    assert found == {str(number): number for number in numbers}


def test_as_many_names_as_a_model_without_names_has_classes_count_in_their_order() -> None:
    assert class_numbers("data", ["nut", "bolt", "screw"], 3, None) == {"bolt": 0, "nut": 1, "screw": 2}


@pytest.mark.parametrize("names", [None, TOOLS])
@pytest.mark.parametrize("found", [["camera0", "camera1"], ["2023", "2024"], ["-1", "-2"], ["caf\udce9"], ["\u0661"]])
def test_labels_of_which_none_is_a_class_are_refused_as_unknown(found: list[str], names: list[str] | None) -> None:
    with pytest.raises(UnknownClassesError, match="--labels FILE"):
        class_numbers("data", found, 3, names)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (["nut", "screw", "washer"], "1 of 3 labels are no class of the model: 'washer'"),
        (["nut", "screws"], r"'screws' \(did you mean screw\?\)"),
        (["0", "3"], "labels go from 0 to 3, the model has 3 classes from 0 on"),
        (["1", "2", "3"], "labels go from 1 to 3, the model has 3 classes from 0 on"),
    ],
)
def test_labels_of_which_only_some_are_classes_are_refused(found: list[str], words: str) -> None:
    with pytest.raises(ImageError, match=words) as fault:
        class_numbers("data", found, 3, TOOLS)
    assert not isinstance(fault.value, UnknownClassesError)


def test_a_name_of_two_classes_is_refused_and_numbers_are_offered() -> None:
    """ImageNet has two cranes and two maillots."""
    with pytest.raises(ImageError, match=r"2 classes of the model are called 'cat'.* Give labels as numbers, 0 to 3"):
        class_numbers("data", ["cat"], 4, ["ant", "bee", "cat", "cat"])


def test_a_name_of_two_classes_that_no_label_uses_does_not_matter() -> None:
    assert class_numbers("data", ["ant"], 3, ["ant", "emu", "emu"]) == {"ant": 0}


def test_letters_with_accents_are_the_same_however_unicode_composes_them() -> None:
    composed, apart = "caf\u00e9", "cafe\u0301"
    assert class_numbers("--data d", [apart, "tree"], 2, ["tree", composed]) == {apart: 1, "tree": 0}
    assert class_numbers("--data d", [composed], 2, ["tree", apart]) == {composed: 1}


def test_whole_numbers_that_a_spreadsheet_wrote_as_fractions_are_numbers() -> None:
    assert class_numbers("--data d", ["0.0", "2.00"], 3, ["a", "b", "c"]) == {"0.0": 0, "2.00": 2}
    with pytest.raises(ImageError):
        class_numbers("--data d", ["0.0", "1.5"], 3, ["a", "b", "c"])
