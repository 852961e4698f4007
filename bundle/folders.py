"""Output folders: locked while a command writes there, and changed as a whole.

A command that is killed leaves an output folder in one of two states: as it was, or with a note of files that are complete
and not all in place. The next command that writes there reads the note and puts the rest in place before anything else.
Engines are not loaded meanwhile: see `require_placed`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from .errors import EngineError, SacvitError, UsageError
from .files import remove_abandoned, require_folder, sync
from .records import read_record, write_record

WORK_PREFIX = ".sacvit-"  # of a working folder
NOTE_NAME = ".sacvit-placing.json"  # names the working folder whose files are being put in place
NO_LOCKS = (errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS)  # file systems without them, as some network mounts
MIB = 1 << 20
LEAST_ROOM_BYTES = 16 * MIB  # where the size of the content is not known beforehand

_held: dict[Path, int] = {}  # folders that this process has locked, and how many times


@contextmanager
def locked_folder(folder: Path, option: str = "--out", room_bytes: int = LEAST_ROOM_BYTES) -> Iterator[Path]:
    """Makes the folder where it is missing, and keeps other sacvit commands out of it.

    Problems that would stop a command at its end are found here, before its work: a file in the folder's place, no permission
    to write, too little space. option: names the folder in messages. Raises UsageError for a file and for a folder that another
    command holds, SacvitError for the rest. A folder that was made here and stayed empty is removed again.
    """
    is_new = not folder.exists()
    require_folder(folder, option)
    free = shutil.disk_usage(folder).free
    if free < room_bytes:
        raise SacvitError(
            f"{option} {folder} has {free // MIB} MiB left; about {-(-room_bytes // MIB)} MiB are needed."
            f" Make room, or give another folder"
        )
    try:
        with _lock(folder.resolve(), f"{option} {folder}"):
            _finish_placing(folder)
            _remove_abandoned(folder)
            yield folder
    finally:
        if is_new and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


@contextmanager
def _lock(folder: Path, what: str) -> Iterator[None]:
    if folder in _held:
        _held[folder] += 1
        try:
            yield
        finally:
            _held[folder] -= 1
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as reason:
        if reason.errno not in NO_LOCKS:
            os.close(descriptor)
            raise UsageError(
                f"{what} is in use: another sacvit command writes there. Wait until it ends, or give another folder"
            ) from None
    _held[folder] = 1
    try:
        yield
    finally:
        del _held[folder]
        os.close(descriptor)


@contextmanager
def replaced_files(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """Gives a working folder. On success its files `names` replace those in `folder`; those it lacks are removed there.

    Files are placed in the order of `names`: the one that readers verify the others with comes last. After any failure, also
    between two renames, `folder` is as it was. Call it inside `locked_folder`.
    """
    work = Path(tempfile.mkdtemp(prefix=WORK_PREFIX, dir=folder))
    try:
        yield work
        _place(folder, work, names)
    except OSError as reason:
        raise SacvitError(f"{folder} cannot be written: {reason.strerror or reason}") from None
    finally:
        if not (folder / NOTE_NAME).exists():
            shutil.rmtree(work, ignore_errors=True)


def _place(folder: Path, work: Path, names: Sequence[str]) -> None:
    for name in names:
        if (folder / name).is_dir():
            raise SacvitError(f"{folder / name} is a folder; a file of that name has to be written. Move it away")
    for path in work.iterdir():
        sync(path)
    placing = _Placing(folder, work, tuple(names), tuple(name for name in names if (work / name).exists()))
    placing.old.mkdir()
    write_record(folder / NOTE_NAME, _Note(work.name, placing.names, placing.new))
    try:
        placing.go_on()
    except BaseException:
        placing.undo()
        raise
    finally:
        (folder / NOTE_NAME).unlink()
    sync(folder)


Name = Annotated[str, msgspec.Meta(pattern=r"\A[^./\x00][^/\x00]*\Z")]  # of a file right in the folder, and not hidden


class _Note(msgspec.Struct, frozen=True):
    """The data of a `_Placing`, kept on disk while it works."""

    work: Annotated[str, msgspec.Meta(pattern=rf"\A{re.escape(WORK_PREFIX)}\w+\Z")]
    names: tuple[Name, ...]
    new: tuple[Name, ...]


@dataclass(frozen=True)
class _Placing:
    """Moves files from `work` into `folder`. Both methods may be called again after a kill between two renames."""

    folder: Path
    work: Path
    names: tuple[str, ...]
    new: tuple[str, ...]  # those of `names` that `work` held

    @property
    def old(self) -> Path:
        return self.work / "old"

    def go_on(self) -> None:
        """Moves the files that are not in place yet there, and the files that they replace into `old`."""
        for name in self.names:
            if name in self.new and not (self.work / name).exists():
                continue  # in place
            if (self.folder / name).exists():
                os.replace(self.folder / name, self.old / name)
            if name in self.new:
                os.replace(self.work / name, self.folder / name)
        sync(self.folder)

    def undo(self) -> None:
        """Moves the new files out again and puts the earlier ones back."""
        for name in self.names:
            if name in self.new and not (self.work / name).exists():
                os.replace(self.folder / name, self.work / name)
            if (self.old / name).exists():
                os.replace(self.old / name, self.folder / name)


def require_placed(folder: Path) -> None:
    """Raises EngineError where a command was killed between two files of a set: plans of two builds could run as one pair."""
    if (folder / NOTE_NAME).exists():
        raise EngineError(
            f"{folder} holds files of two runs: a command was killed while it put its files in place, or is doing it now. Run"
            f" the command that writes there again, such as sacvit-export or sacvit-build {folder}; it completes them first"
        )


def _finish_placing(folder: Path) -> None:
    """Completes what a killed command was doing when it put its files in place."""
    note = folder / NOTE_NAME
    if not note.exists():
        return
    found = read_record(note, _Note, "Remove it, and write the folder's files again", SacvitError)
    work = folder / found.work
    try:
        if (work / "old").is_dir():
            _Placing(folder, work, found.names, found.new).go_on()
        note.unlink()
    except OSError as reason:
        raise SacvitError(
            f"{folder}: the files that a killed command was putting in place cannot be placed: {reason.strerror or reason}."
            f" Remove {note.name} there, and write the folder's files again"
        ) from None


def _remove_abandoned(folder: Path) -> None:
    """Removes temporary files and working folders of killed commands. The lock is held, so no working folder is in use."""
    remove_abandoned(folder)
    for left in folder.glob(f"{WORK_PREFIX}*"):
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
