"""Files that appear whole or not at all, and survive a power cut once they have appeared."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import SacvitError, UsageError

NOTE_BYTES = 4096  # of what `known_sha256` keeps of a file
SETTLED_S = 2.0


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; on success its content is on the disk and takes the name `path`.

    On any failure the temporary file is removed and `path` keeps its content. Temporary files of killed commands are removed
    too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path.parent, path.name)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield partial
        sync(partial)  # before it takes its name: a power cut would leave an empty file under it
        os.replace(partial, path)
        sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def remove_abandoned(folder: Path, name: str | None = None) -> None:
    """Removes the temporary files of writers that were killed: of the file `name`, or of all files of the folder."""
    for left in folder.glob(f".{'*' if name is None else _literal(name)}.*.part"):
        if not _is_running(left.name):
            left.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Returns when what was written to a file, or renamed in a folder, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """The file's SHA-256 in hex, read in pieces."""
    digest = hashlib.sha256()  # hashlib.file_digest needs Python 3.11
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def known_sha256(path: Path) -> str:
    """`sha256_of`, or what it was when this file was read last and has not been written to since.

    An engine is 100 MB, and reading it takes a tenth of a second of every start. Linux sets the time of the last change itself
    (st_ctime), and no program can set it back. A file that changed in the last seconds is read again: times have steps.
    """
    found = path.stat()
    identity = [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]
    note = cache_folder("digests") / f"{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]}.json"
    try:
        seen = json.loads(note.read_bytes()[:NOTE_BYTES])
        if seen["identity"] == identity and isinstance(seen["sha256"], str):
            return seen["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # none, or none of ours: the file is read
    digest = sha256_of(path)
    if time.time() - found.st_ctime > SETTLED_S:
        # A folder that cannot be written: the file is read each time.
        with suppress(OSError), written_whole(note) as partial:
            partial.write_text(json.dumps({"identity": identity, "sha256": digest}), "utf-8")
    return digest


def sha256_of_all(paths: Sequence[Path]) -> str:
    """The SHA-256 of a file, or of the names and the SHA-256 of several."""
    if len(paths) == 1:
        return sha256_of(paths[0])
    return hashlib.sha256("".join(f"{sha256_of(path)}  {path.name}\n" for path in paths).encode()).hexdigest()


def cache_folder(name: str) -> Path:
    """$XDG_CACHE_HOME/sacvit/NAME, or the same below ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "sacvit" / name


def require_folder(folder: Path, option: str) -> None:
    """Makes the folder where it is missing. Raises UsageError for a file, SacvitError for a folder that cannot be written.

    Call it before the work whose results go there.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{option} {folder} is a file; give a folder")
    try:
        make_writable(folder)
    except OSError as reason:
        raise SacvitError(f"{option} {folder} cannot be written: {reason.strerror or reason}") from None


def make_writable(folder: Path) -> None:
    """Makes the folder where it is missing, and a file in it that vanishes. Raises OSError where either fails."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


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


def _literal(name: str) -> str:
    """The name with the special characters of `glob` escaped."""
    return re.sub(r"([*?[])", r"[\1]", name)


def _is_running(partial_name: str) -> bool:
    """Whether the process that writes a .part file is alive."""
    number = partial_name.rpartition(".part")[0].rpartition(".")[2]
    if not number.isdecimal() or len(number) > 10:
        return True  # not a name from here
    with suppress(ProcessLookupError, OverflowError):
        try:
            os.kill(int(number), 0)
        except PermissionError:
            return True  # a process of another user
        return True
    return False
