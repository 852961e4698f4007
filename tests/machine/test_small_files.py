from __future__ import annotations

import pytest

from sacvit.machine.small_files import PAGE_BYTES, listed, read_number, read_text


@pytest.mark.parametrize(
    ("content", "number"),
    [
        (b"5000\n", 5000),
        (b"-8\n", -8),
        (b"0", 0),
        (b"42\0", 42),  # of a device tree
        (b"", None),
        (b"5000 mW\n", None),
        (b"1.5\n", None),
        (b"1_000\n", None),
        (b"\xff\n", None),
        (b"1\n2\n", None),
        (b"9" * 19, None),
    ],
)
def test_only_a_whole_number_alone_is_read_as_one(tmp_path, content, number):
    (tmp_path / "file").write_bytes(content)
    assert read_number(tmp_path / "file") == number


def test_a_file_that_is_absent_is_none(tmp_path):
    assert read_text(tmp_path / "file") is None


def test_a_folder_is_none(tmp_path):
    assert read_text(tmp_path) is None


def test_no_more_than_a_page_is_read(tmp_path):
    (tmp_path / "file").write_text("x" * 100_000)
    assert len(read_text(tmp_path / "file")) == PAGE_BYTES


def test_a_broken_link_is_none(tmp_path):
    (tmp_path / "file").symlink_to("nowhere")
    assert read_text(tmp_path / "file") is None


def test_folders_come_by_number(tmp_path):
    for number in (10, 9, 1):
        (tmp_path / f"hwmon{number}").mkdir()
    assert [path.name for path in listed(tmp_path, "hwmon*")] == ["hwmon1", "hwmon9", "hwmon10"]


def test_a_folder_that_is_absent_lists_nothing(tmp_path):
    assert listed(tmp_path / "none", "*") == []
