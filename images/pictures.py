"""The pictures of a folder: one rule for every command.

A picture is a regular file whose first bytes are a picture's. A file with a picture's suffix is opened only when it is read:
opening all of ImageNet's files would take twice as long as listing them. Hidden files and folders are passed over, among them
the `._*` files that macOS writes, and so are folders of operating systems. Links are followed, loops of links are not. Other
files that are passed over are counted, and one line names an example.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..bundle.errors import ImageError
from .kinds import HEAD_BYTES, SUFFIXES, PictureKind, kind_of

logger = logging.getLogger(__name__)

# Folders that operating systems and storage devices create. They are not classes.
OF_SYSTEMS = frozenset(["__MACOSX", "@eaDir", "#recycle", "lost+found", "$RECYCLE.BIN", "System Volume Information"])


@dataclass
class PassedOver:
    """What a listing passed over, by reason: the count, and the first path."""

    folder: Path
    found: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, reason: str, path: str) -> None:
        count, first = self.found.get(reason, (0, path))
        self.found[reason] = count + 1, first

    def log(self) -> None:
        """One line for each reason."""
        for reason, (count, first) in self.found.items():
            shown = os.path.relpath(first, self.folder)
            logger.info("%s: %d passed over: %s, for example %s", self.folder, count, reason, shown)


def pictures_below(folder: Path) -> list[Path]:
    """The pictures in a folder and its folders, sorted by their paths. Raises ImageError if the folder cannot be read."""
    passed = PassedOver(folder)
    found = list(_walk(folder, passed))
    passed.log()
    return found


def pictures_in(folder: Path) -> list[Path]:
    """The pictures right in a folder, sorted by name. Raises ImageError if the folder cannot be read."""
    passed = PassedOver(folder)
    found = [Path(entry.path) for entry in _entries(str(folder)) if not entry.is_dir() and _is_picture(entry, passed)]
    passed.log()
    return found


def class_pictures(folder: Path) -> dict[str, list[Path]]:
    """The pictures below each folder of a folder, by its name, in the order of `class_order`.

    Folders without a picture are among them. Pictures right in `folder` are passed over. Raises ImageError if the folder
    cannot be read.
    """
    passed = PassedOver(folder)
    entries = _entries(str(folder))
    by_class = {
        name: list(_walk(folder / name, passed)) for name in (entry.name for entry in entries if entry.is_dir())
    }
    for entry in entries:
        if not entry.is_dir() and _is_picture(entry, passed):
            passed.add("pictures beside the class folders", entry.path)
    passed.log()
    return {name: by_class[name] for name in class_order(by_class)}


def class_order(names: Iterable[str]) -> list[str]:
    """Names of classes in order: numbers by their value, so that 10 comes behind 9; otherwise by name."""
    found = list(names)
    if all(name.isdecimal() and name.isascii() for name in found):
        return sorted(found, key=lambda name: (len(name.lstrip("0")), name.lstrip("0"), name))
    return sorted(found)


def kind_at(path: str | Path) -> PictureKind | None:
    """The kind of picture in a file, by its first bytes; None for a file that is not regular, not readable or no picture."""
    try:
        if not os.path.isfile(path):  # noqa: PTH113  # a quarter of the time of Path's
            return None
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            return kind_of(file.read(HEAD_BYTES))
    except (OSError, ValueError):
        return None


def _walk(folder: Path, passed: PassedOver) -> Iterator[Path]:
    """Without recursion: folders may be nested deeper than Python's stack allows."""
    seen = {_identity(str(folder))}
    stack = [iter(_entries(str(folder)))]
    while stack:
        entry = next(stack[-1], None)
        if entry is None:
            stack.pop()
        elif entry.is_dir():
            try:
                identity = _identity(entry.path)
                if identity not in seen:  # otherwise a link led here a second time, perhaps in a loop
                    seen.add(identity)
                    stack.append(iter(_entries(entry.path)))
            except ImageError:
                passed.add("folders that cannot be read", entry.path)
        elif _is_picture(entry, passed):
            yield Path(entry.path)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            kept = (entry for entry in found if entry.name[0] != "." and entry.name not in OF_SYSTEMS)
            return sorted(kept, key=lambda entry: entry.name)
    except OSError as reason:
        raise ImageError(f"{folder} is not readable: {reason.strerror or reason}") from None


def _identity(folder: str) -> tuple[int, int]:
    try:
        found = os.stat(folder)  # noqa: PTH116
    except OSError as reason:
        raise ImageError(f"{folder} is not readable: {reason.strerror or reason}") from None
    return found.st_dev, found.st_ino


def _is_picture(entry: os.DirEntry[str], passed: PassedOver) -> bool:
    if not entry.is_file():
        passed.add("links to nothing, pipes and devices", entry.path)
        return False
    if os.path.splitext(entry.name)[1].lower() in SUFFIXES or kind_at(entry.path) is not None:  # noqa: PTH122
        return True
    passed.add("files that are no pictures", entry.path)
    return False
