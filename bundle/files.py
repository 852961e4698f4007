"""Files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import SacvitError, UsageError


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
