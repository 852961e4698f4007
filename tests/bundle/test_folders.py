"""An output folder is as it was, or as a command left it at its end; never a mixture, and never two commands' work."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from sacvit.bundle import folders
from sacvit.bundle.errors import EngineError, SacvitError, UsageError
from sacvit.bundle.folders import NOTE_NAME, locked_folder, replaced_files, require_placed
from sacvit.bundle.records import write_record

NAMES = ("a", "b", "gone", "new", "last")


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if not path.name.startswith(".")}


BEFORE = {"a": "old a", "b": "old b", "gone": "old gone", "last": "old last", "foreign": "of the user"}
AFTER = {"a": "new a", "b": "new b", "new": "new new", "last": "new last", "foreign": "of the user"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    out = tmp_path / "out"
    out.mkdir()
    for name, text in BEFORE.items():
        (out / name).write_text(text)
    return out


def place(folder: Path) -> None:
    with locked_folder(folder), replaced_files(folder, NAMES) as work:
        for name in NAMES:
            if name != "gone":
                (work / name).write_text(f"new {name}")


def test_files_take_their_places_and_those_that_are_not_written_go(folder: Path) -> None:
    place(folder)
    assert content(folder) == AFTER


def test_nothing_hidden_is_left_in_the_folder(folder: Path) -> None:
    place(folder)
    assert {path.name for path in folder.iterdir()} == set(AFTER)


STEPS = 8  # renames into place and out of it, for NAMES


@pytest.mark.parametrize("step", range(STEPS))
def test_a_failure_between_two_renames_leaves_the_folder_as_it_was(
    folder: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, calls = os.replace, iter(range(100))

    def failing(source: Path, target: Path) -> None:
        if NOTE_NAME not in str(target) and next(calls) == step:
            raise OSError(5, "Input/output error")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(SacvitError, match="cannot be written: Input/output error"):
        place(folder)
    assert content(folder) == BEFORE
    assert {path.name for path in folder.iterdir()} == set(BEFORE)


KILLED = """
import os, sys
from pathlib import Path

from sacvit.bundle import folders
replace, calls = os.replace, iter(range(100))
def dying(source, target):
    if folders.NOTE_NAME not in str(target) and next(calls) == {step}:
        os._exit(9)
    replace(source, target)
os.replace = dying
with folders.locked_folder(Path({folder!r})), folders.replaced_files(Path({folder!r}), {names!r}) as work:
    for name in {names!r}:
        if name != "gone":
            (work / name).write_text("new " + name)
"""


@pytest.mark.parametrize("step", range(STEPS))
def test_what_a_kill_between_two_renames_left_is_finished_by_the_next_command(folder: Path, step: int) -> None:
    code = KILLED.format(step=step, folder=str(folder), names=NAMES)
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    with pytest.raises(EngineError, match=r"holds files of two runs: .*Run the command that writes there again"):
        require_placed(folder)
    with locked_folder(folder):
        pass
    require_placed(folder)
    assert content(folder) == AFTER
    assert {path.name for path in folder.iterdir()} == set(AFTER)


def test_a_working_folder_that_a_kill_left_is_removed(folder: Path) -> None:
    (folder / ".sacvit-abc").mkdir()
    (folder / ".sacvit-abc" / "a").write_text("half")
    with locked_folder(folder):
        pass
    assert content(folder) == BEFORE
    assert not (folder / ".sacvit-abc").exists()


def test_a_temporary_file_that_a_kill_left_is_removed_whatever_its_name(folder: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (folder / f".window-0004.npz.{ended.pid}.part").write_text("half")
    (folder / f".other.npz.{os.getpid()}.part").write_text("being written")
    with locked_folder(folder):
        pass
    assert [path.name for path in folder.iterdir() if path.name.endswith(".part")] == [f".other.npz.{os.getpid()}.part"]


def test_a_damaged_note_is_refused_by_its_name(folder: Path) -> None:
    (folder / NOTE_NAME).write_text("[]")
    with pytest.raises(SacvitError, match=NOTE_NAME), locked_folder(folder):
        pass


@pytest.mark.parametrize(
    ("work", "name"),
    [("../other", "a"), (".sacvit-a", "../x"), (".sacvit-a", "."), (".sacvit-a/..", "a"), (".sacvit-a", "")],
)
def test_a_note_cannot_name_files_outside_the_folder(folder: Path, work: str, name: str) -> None:
    write_record(folder / NOTE_NAME, {"work": work, "names": [name], "new": [name]})
    (folder.parent / "x").write_text("not ours")
    (folder / ".sacvit-a" / "old").mkdir(parents=True)
    with pytest.raises(SacvitError, match=NOTE_NAME), locked_folder(folder):
        pass
    assert (folder.parent / "x").read_text() == "not ours" and content(folder) == BEFORE


def test_a_note_that_was_changed_is_refused_by_its_name(folder: Path) -> None:
    write_record(folder / NOTE_NAME, {"work": ".sacvit-a", "names": ["a"], "new": ["a"]})
    changed = (folder / NOTE_NAME).read_text().replace('"a"', '"b"')
    (folder / NOTE_NAME).write_text(changed)
    (folder / ".sacvit-a" / "old").mkdir(parents=True)
    with pytest.raises(SacvitError, match=r"checksum does not fit.*Remove it"), locked_folder(folder):
        pass
    assert content(folder) == BEFORE


def test_files_that_a_kill_left_and_that_cannot_be_placed_are_reported(folder: Path) -> None:
    write_record(folder / NOTE_NAME, {"work": ".sacvit-a", "names": ["a" * 300], "new": ["a" * 300]})
    (folder / ".sacvit-a" / "old").mkdir(parents=True)
    with pytest.raises(SacvitError, match="cannot be placed: File name too long"), locked_folder(folder):
        pass


def test_two_commands_cannot_write_into_one_folder(folder: Path) -> None:
    code = (
        "from pathlib import Path; from sacvit.bundle.folders import locked_folder\n"
        f"with locked_folder(Path({str(folder)!r})): pass"
    )
    with locked_folder(folder):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "UsageError" in done.stderr and "in use" in done.stderr


def test_one_command_may_lock_its_folder_twice(folder: Path) -> None:
    with locked_folder(folder), locked_folder(folder):
        pass
    assert folders._held == {}


def test_a_file_in_the_folder_s_place_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="is a file; give a folder"), locked_folder(folder / "a"):
        pass


def test_a_full_disk_is_reported_before_the_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(100, 90, 10 << 20))
    with (
        pytest.raises(SacvitError, match="10 MiB left; about 200 MiB are needed"),
        locked_folder(folder, room_bytes=200 << 20),
    ):
        pass


def test_a_folder_that_cannot_be_made_is_reported(folder: Path) -> None:
    with pytest.raises(SacvitError, match="cannot be written: Not a directory"), locked_folder(folder / "a" / "b"):
        pass


def test_a_new_folder_that_stays_empty_is_removed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="planted"), locked_folder(tmp_path / "out"):
        raise ValueError("planted")
    assert not (tmp_path / "out").exists()


def test_a_folder_in_the_place_of_a_file_is_refused_before_anything_moves(folder: Path) -> None:
    (folder / "b").unlink()
    (folder / "b").mkdir()
    with pytest.raises(SacvitError, match="is a folder; a file of that name"):
        place(folder)
    assert (folder / "a").read_text() == "old a"
