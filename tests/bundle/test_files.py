"""A file appears whole or not at all, whatever happens while it is written."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sacvit.bundle import files
from sacvit.bundle.files import known_sha256, sha256_of, written_whole


def test_the_file_appears_under_its_name_on_success(tmp_path: Path) -> None:
    with written_whole(tmp_path / "a.bin") as partial:
        partial.write_bytes(b"content")
    assert (tmp_path / "a.bin").read_bytes() == b"content"


def test_nothing_is_left_beside_the_file_on_success(tmp_path: Path) -> None:
    with written_whole(tmp_path / "a.bin") as partial:
        partial.write_bytes(b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_the_name_is_free_until_the_content_is_complete(tmp_path: Path) -> None:
    with written_whole(tmp_path / "a.bin") as partial:
        partial.write_bytes(b"content")
        assert not (tmp_path / "a.bin").exists()


def test_the_partial_file_lies_in_the_same_folder_so_that_the_rename_is_atomic(tmp_path: Path) -> None:
    with written_whole(tmp_path / "a.bin") as partial:
        partial.write_bytes(b"")
        assert partial.parent == tmp_path


@pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_fault_leaves_no_file(tmp_path: Path, fault: type[BaseException]) -> None:
    with pytest.raises(fault), written_whole(tmp_path / "a.bin") as partial:
        partial.write_bytes(b"half")
        raise fault
    assert list(tmp_path.iterdir()) == []


def test_a_fault_leaves_the_earlier_file_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"earlier")
    with pytest.raises(ValueError, match="planted"), written_whole(tmp_path / "a.bin") as partial:
        partial.write_bytes(b"half")
        raise ValueError("planted")
    assert (tmp_path / "a.bin").read_bytes() == b"earlier"


def test_success_replaces_the_earlier_file(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"earlier, and longer")
    with written_whole(tmp_path / "a.bin") as partial:
        partial.write_bytes(b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"new"


def test_missing_folders_are_made(tmp_path: Path) -> None:
    with written_whole(tmp_path / "x" / "y" / "a.bin") as partial:
        partial.write_bytes(b"content")
    assert (tmp_path / "x" / "y" / "a.bin").is_file()


def test_a_writer_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), written_whole(tmp_path / "a.bin"):
        pass


@settings(max_examples=20)
@given(content=st.binary(max_size=200), repeats=st.sampled_from([1, 2, 20_000]))
def test_the_digest_is_hashlib_s_for_any_content(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, repeats: int
) -> None:
    path = tmp_path_factory.mktemp("digest") / "a.bin"
    path.write_bytes(content * repeats)  # up to 4 MB: several pieces
    assert sha256_of(path) == hashlib.sha256(content * repeats).hexdigest()


def test_what_a_killed_writer_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    left = tmp_path / ".a.bin.999999999.part"  # no Linux process has this number
    left.write_bytes(b"half")
    with written_whole(tmp_path / "a.bin") as partial:
        partial.write_bytes(b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_what_a_running_writer_writes_stays(tmp_path: Path) -> None:
    other = tmp_path / f".a.bin.{os.getppid()}.part"  # not process 1: in a container that is this one
    other.write_bytes(b"half")
    with written_whole(tmp_path / "a.bin") as partial:
        partial.write_bytes(b"content")
    assert other.exists()


@pytest.fixture
def settled(monkeypatch, tmp_path):
    """A file that nothing has written to for a minute, and what counts how often its content is read."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(files, "SETTLED_S", -1.0)
    read = []
    monkeypatch.setattr(files, "sha256_of", lambda path: read.append(path) or sha256_of(path))
    path = tmp_path / "ee.onnx"
    path.write_bytes(b"engine")
    return path, read


def test_a_file_is_read_once_for_its_digest(settled):
    path, read = settled
    assert [known_sha256(path) for _ in range(3)] == [hashlib.sha256(b"engine").hexdigest()] * 3
    assert len(read) == 1


def test_a_file_that_was_written_to_is_read_again_even_with_its_old_times(settled):
    path, _ = settled
    known_sha256(path)
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"ENGINE")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert known_sha256(path) == hashlib.sha256(b"ENGINE").hexdigest()


def test_another_file_under_the_same_name_is_read(settled):
    path, _ = settled
    known_sha256(path)
    other = path.with_name("other")
    other.write_bytes(b"ENGINE")
    os.replace(other, path)
    assert known_sha256(path) == hashlib.sha256(b"ENGINE").hexdigest()


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b'{"identity": [1], "sha256": "00"}', b"\xff" * 9000])
def test_a_damaged_note_is_made_anew(settled, tmp_path, note):
    path, _ = settled
    known_sha256(path)
    (found,) = (tmp_path / "cache").rglob("*.json")
    found.write_bytes(note)
    assert known_sha256(path) == hashlib.sha256(b"engine").hexdigest()
    assert found.read_bytes() != note


def test_a_file_of_this_second_is_not_remembered(settled, monkeypatch):
    path, read = settled
    monkeypatch.setattr(files, "SETTLED_S", 60.0)
    known_sha256(path)
    known_sha256(path)
    assert len(read) == 2


def test_where_nothing_can_be_noted_the_file_is_read_each_time(settled, monkeypatch, tmp_path):
    path, read = settled
    (tmp_path / "cache").write_bytes(b"no folder")
    known_sha256(path)
    known_sha256(path)
    assert len(read) == 2
