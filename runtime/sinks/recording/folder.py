"""The folder of recordings: names that rise, the oldest ones removed, room on the disk."""

from __future__ import annotations

import errno
import os
import re
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from ....bundle.folders import locked_folder

# camera0-00000012-20261126T134613Z.mkv; the number rises over all cameras and runs, whatever the clock does.
NAME = re.compile(r"camera\d+-(\d{8,12})-\d{8}T\d{6}Z(?:-event)?\.mkv")
RESERVE_BYTES = 256 << 20  # left free on the disk: other programs of a device need to write too


class RecordingFolder:
    """Where segments and clips are written. Only files that have one of our names are counted and removed.

    keep_bytes: the most that ours may hold together; None: no limit. Raises UsageError when another sacvit-run writes there.
    """

    def __init__(
        self,
        path: Path,
        keep_bytes: int | None = None,
        reserve_bytes: int = RESERVE_BYTES,
        free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    ) -> None:
        self._lock = ExitStack()
        self._lock.enter_context(locked_folder(path, "--save", room_bytes=0))
        self.path, self.keep_bytes = path, keep_bytes
        self._reserve_bytes, self._free_bytes = reserve_bytes, free_bytes
        self._changing = threading.Lock()  # names are given out by the chain too
        self._closed: dict[int, tuple[Path, int]] = {}  # files that are not written to: path and size by number
        self._open: dict[int, Path] = {}
        for entry in os.scandir(path):
            match = NAME.fullmatch(entry.name)
            if match and entry.is_file(follow_symlinks=False):
                self._closed[int(match[1])] = Path(entry.path), entry.stat().st_size
        self._next = max(self._closed, default=-1) + 1

    def new_file(self, stream: int, began_s: float, is_event: bool = False) -> Path:
        """The path of the next file. began_s: when its first frame was taken, Unix time."""
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(began_s))
        with self._changing:
            path = self.path / f"camera{stream}-{self._next:08d}-{moment}{'-event' * is_event}.mkv"
            self._open[self._next] = path
            self._next += 1
        return path

    def end_file(self, path: Path) -> None:
        """Notes that a file of `new_file` is not written to any more. From now on it may be removed."""
        with self._changing:
            number = next(number for number, one in self._open.items() if one == path)
            del self._open[number]
            if path.exists():
                self._closed[number] = path, path.stat().st_size

    def make_room(self) -> None:
        """Removes the oldest files until ours hold at most `keep_bytes`, those being written included."""
        if self.keep_bytes is None:
            return
        with self._changing:
            being_written = [path for path in self._open.values() if path.exists()]
        held = sum(path.stat().st_size for path in being_written)
        held += sum(size for _, size in self._closed.values())
        for number in sorted(self._closed):
            if held <= self.keep_bytes:
                return
            path, size = self._closed.pop(number)
            path.unlink(missing_ok=True)
            held -= size

    def require_room(self, factor: int = 1) -> None:
        """Raises OSError (no space left) when less than the reserve, times `factor`, is free."""
        free = self._free_bytes(self.path)
        if free < factor * self._reserve_bytes:
            reason = (
                f"{os.strerror(errno.ENOSPC)}: {free >> 20} MiB are free, and {self._reserve_bytes >> 20} MiB stay free"
            )
            raise OSError(errno.ENOSPC, reason, str(self.path))

    def close(self) -> None:
        self._lock.close()
