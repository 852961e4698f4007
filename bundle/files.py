"""Files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import SacvitError, UsageError

WORK_PREFIX = ".sacvit-"  # of a working folder; a killed command leaves one
ABANDONED_S = 86400.0  # a working folder of this age belongs to no running command


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; on success it takes the name `path`, on any failure it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """The file's SHA-256 in hex, read in pieces."""
    digest = hashlib.sha256()  # hashlib.file_digest needs Python 3.11
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def require_writable(path: Path, option: str, suffix: str) -> None:
    """Raises before a run, not after it, when `path` cannot become a file with that suffix."""
    if path.suffix.lower() != suffix:
        raise UsageError(f"{option} {path}: give a name that ends in {suffix}")
    if path.is_dir():
        raise UsageError(f"{option} {path} is a folder; give a file's name")
    if not path.parent.is_dir():
        raise SacvitError(f"{option} {path}: the folder {path.parent} does not exist")
    if not os.access(path.parent, os.W_OK):
        raise SacvitError(f"{option} {path}: the folder {path.parent} is not writable")


@contextmanager
def replaced_folder(folder: Path, names: tuple[str, ...]) -> Iterator[Path]:
    """A working folder whose files `names` take their places in `folder` on success; those it lacks are removed there.

    On any failure, also between two of the renames, `folder` is as it was. The working folder lies inside: `folder` may
    be a mount point, and two exports may run at once.
    """
    if folder.exists() and not folder.is_dir():
        raise SacvitError(f"--out {folder} is a file; give a folder")
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f"{WORK_PREFIX}*"):
            if time.time() - left.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(left, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=WORK_PREFIX, dir=folder))
    except OSError as reason:
        raise SacvitError(f"--out {folder} cannot be written: {reason}") from None
    placed: list[str] = []
    old = work / "old"
    try:
        yield work
        old.mkdir()
        for name in names:
            if (folder / name).exists():
                os.replace(folder / name, old / name)
            placed.append(name)
            if (work / name).exists():
                os.replace(work / name, folder / name)
    except BaseException as reason:
        for name in placed:
            (folder / name).unlink(missing_ok=True)
            if (old / name).exists():
                os.replace(old / name, folder / name)
        if isinstance(reason, OSError):
            raise SacvitError(f"--out {folder} cannot be written: {reason}") from None
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
        if is_new and not any(folder.iterdir()):
            folder.rmdir()
