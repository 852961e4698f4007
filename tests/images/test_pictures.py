"""Which files of a folder are pictures: by content, without hidden ones, through links, and every other one is counted."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit.bundle.errors import ImageError
from sacvit.images.pictures import class_order, class_pictures, kind_at, pictures_below, pictures_in

JPEG = b"\xff\xd8\xff\xe0" + bytes(40)


def write(folder: Path, *names: str, content: bytes = JPEG) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def below(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in pictures_below(folder)]


@pytest.mark.parametrize("name", ["a.jfif", "a", "a.jpg_large", "a.JPG", "a.png"])
def test_the_content_makes_a_picture_whatever_its_suffix(tmp_path: Path, name: str) -> None:
    assert below(write(tmp_path, name)) == [name]


def test_pictures_come_in_the_order_of_their_paths(tmp_path: Path) -> None:
    assert below(write(tmp_path, "b.jpg", "a/z.jpg", "a/b/c.jpg", "A.jpg")) == [
        "A.jpg",
        "a/b/c.jpg",
        "a/z.jpg",
        "b.jpg",
    ]


@pytest.mark.parametrize("name", [".hidden.jpg", "._a.jpg", ".thumbs/a.jpg", "__MACOSX/a.jpg", "@eaDir/a.jpg"])
def test_hidden_files_and_folders_are_passed_over(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "sacvit"):
        assert below(write(tmp_path, name)) == []
    assert caplog.messages == []


def test_what_is_no_picture_is_counted_in_one_line_with_an_example(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "a.jpg")
    write(tmp_path, "below/notes.txt", "x.csv", "z", content=b"some words")
    with caplog.at_level(logging.INFO, "sacvit"):
        assert below(tmp_path) == ["a.jpg"]
    assert caplog.messages == [f"{tmp_path}: 3 passed over: files that are no pictures, for example below/notes.txt"]


def test_pipes_and_links_to_nothing_are_counted_and_not_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nothing")
    with caplog.at_level(logging.INFO, "sacvit"):
        assert below(tmp_path) == []
    assert "2 passed over" in caplog.messages[0] and "gone.jpg" in caplog.messages[0]


def test_links_to_folders_and_files_are_followed(tmp_path: Path) -> None:
    write(tmp_path / "real", "cat/1.jpg")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "cat").symlink_to("../real/cat")
    (tmp_path / "linked" / "one.jpg").symlink_to("../real/cat/1.jpg")
    assert below(tmp_path / "linked") == ["cat/1.jpg", "one.jpg"]


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    write(tmp_path, "a/1.jpg")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    assert below(tmp_path) == ["a/1.jpg"]


@pytest.fixture
def cleaned(tmp_path: Path) -> Iterator[Path]:
    """A folder that is removed by rm: pytest's own clean-up goes no deeper than Python's stack."""
    yield tmp_path
    subprocess.run(["rm", "-rf", tmp_path], check=True)


def deep(folder: Path, levels: int) -> Path:
    """A picture below so many folders, each called d."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=here)
        deeper = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(os.open("a.jpg", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    return folder


def test_folders_may_lie_deeper_than_pythons_stack(cleaned: Path) -> None:
    assert len(pictures_below(deep(cleaned, 1500))) == 1


def test_a_folder_that_cannot_be_read_is_counted(cleaned: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "sacvit"):
        assert pictures_below(deep(cleaned, 2500)) == []  # a path of more bytes than Linux takes
    assert "1 passed over: folders that cannot be read" in caplog.text


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="gone is not readable: No such file"):
        pictures_below(tmp_path / "gone")


def test_the_pictures_in_a_folder_are_not_those_of_its_folders(tmp_path: Path) -> None:
    assert [path.name for path in pictures_in(write(tmp_path, "b.jpg", "a.jpg", "below/c.jpg"))] == ["a.jpg", "b.jpg"]


def test_each_class_folder_has_its_pictures_also_the_empty_one(tmp_path: Path) -> None:
    write(tmp_path, "cat/1.jpg", "cat/deep/2.jpg", "ant/1.jpg")
    (tmp_path / "bee").mkdir()
    found = {name: len(paths) for name, paths in class_pictures(tmp_path).items()}
    assert list(found.items()) == [("ant", 1), ("bee", 0), ("cat", 2)]


def test_a_picture_beside_the_class_folders_is_counted_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "cat/1.jpg", "stray.jpg")
    with caplog.at_level(logging.INFO, "sacvit"):
        assert list(class_pictures(tmp_path)) == ["cat"]
    assert "1 passed over: pictures beside the class folders, for example stray.jpg" in caplog.text


def test_the_same_folder_may_be_two_classes_by_links(tmp_path: Path) -> None:
    write(tmp_path / "real", "1.jpg")
    (tmp_path / "data").mkdir()
    for name in ("a", "b"):
        (tmp_path / "data" / name).symlink_to("../real")
    assert [len(paths) for paths in class_pictures(tmp_path / "data").values()] == [1, 1]


@given(st.permutations([str(number) for number in range(12)]))
def test_classes_that_are_numbers_come_by_their_value(names: list[str]) -> None:
    assert class_order(names) == [str(number) for number in range(12)]


def test_other_classes_come_by_name() -> None:
    assert class_order(["n02", "10", "9", "n1"]) == ["10", "9", "n02", "n1"]


def test_a_pipe_has_no_kind(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert kind_at(tmp_path / "pipe") is None
