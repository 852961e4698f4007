"""Writes --power-log: the readings and the frames of each second in one line, so that a kill loses the last second at most.

A log of `MAX_BYTES` is renamed to FILE.old.jsonl, in place of an older one, and a new one begins: both together are the
most that a run keeps. A full disk is reported once; the log goes on when there is room.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...bundle.errors import SacvitError, UsageError
from ...bundle.folders import NO_LOCKS
from ...bundle.records import encode_line
from ..power.source import Reading
from .log_lines import COMMAND, FORMAT, MAX_BYTES, PATHS, read_log_line

logger = logging.getLogger(__name__)
MOST_WAITING = 200_000  # readings or frames while the disk hangs: minutes at 1000 frames per second
MAX_HEADER_BYTES = 1 << 20


class PowerLog:
    """A log that one thread writes and others add to. Raises UsageError for a file that holds something else.

    lost_s: the number of lines of a second that the disk did not take.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self.path, self._max_bytes = path, max_bytes
        self.lost_s = 0
        self._is_failing = False
        self._readings: deque[Reading] = deque(maxlen=MOST_WAITING)
        self._frames: deque[tuple[float, float, float, str, int]] = deque(maxlen=MOST_WAITING)
        self._rails: list[str] = []
        self._header: bytes = b""
        self._descriptor, self._size = -1, 0
        _require_own(path)
        try:
            if path.exists():
                _lock(path)  # another run that writes it would go on in the old one
            self._begin()
        except OSError as reason:
            raise SacvitError(f"--power-log {path} cannot be written: {reason.strerror or reason}") from None

    def _begin(self) -> None:
        """Opens an empty file under the name. What it held is kept under the name of the old log."""
        if self.path.exists() and self.path.stat().st_size:
            self.path.rename(self.path.with_suffix(f".old{self.path.suffix}"))
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.close()
        self._descriptor, self._size = descriptor, 0
        _lock(self.path, descriptor)

    def write_header(self, content: Mapping[str, Any], rails: list[str]) -> None:
        """The first line of this log and of those that follow it."""
        self._rails = rails
        self._header = _line("header", {"format": FORMAT, "written_by": COMMAND, **content})
        self._put(self._header)

    def add_reading(self, reading: Reading) -> None:
        self._readings.append(reading)

    def add_frame(self, taken_s: float, age_ms: float, ms: float, path: str, camera: int) -> None:
        self._frames.append((taken_s, age_ms, ms, PATHS[path], camera))

    def write_second(self, monotonic_s: float, time: str) -> None:
        """The readings and frames since the last call, in one line."""
        readings = [self._readings.popleft() for _ in range(len(self._readings))]
        frames = [self._frames.popleft() for _ in range(len(self._frames))]
        taken_s, age_ms, ms, path, camera = zip(*frames, strict=True) if frames else ((), (), (), (), ())
        content = {
            "monotonic_s": monotonic_s,
            "time": time,
            "readings": {
                "s": [round(one.time_s, 4) for one in readings],
                "rails": [
                    [None if (value := one.rails.get(rail)) is None else round(value, 3) for one in readings]
                    for rail in self._rails
                ],
            },
            "frames": {
                "taken_s": [round(value, 4) for value in taken_s],
                "age_ms": [round(value, 2) for value in age_ms],
                "ms": [round(value, 3) for value in ms],
                "path": "".join(path),
                "camera": list(camera),
            },
        }
        if not self._put(_line("second", content)):
            self.lost_s += 1

    def write(self, kind: str, content: Mapping[str, Any]) -> None:
        """Another line: heat, fault or end."""
        self._put(_line(kind, content))

    def _put(self, line: bytes) -> bool:
        """Writes a line whole or not at all; reports the first failure of several, and their end."""
        try:
            if self._size + len(line) > self._max_bytes:
                self._begin()
            self._append(line if self._size or line is self._header else self._header + line)
        except OSError as reason:
            if not self._is_failing:
                logger.error(
                    "--power-log %s: the log has stopped: %s. Frames are classified as before. It goes on when there is room",
                    self.path,
                    reason.strerror or reason,
                )
            self._is_failing = True
            return False
        if self._is_failing:
            logger.info("--power-log %s: the log goes on", self.path)
        self._is_failing = False
        return True

    def _append(self, line: bytes) -> None:
        try:
            left = line
            while left:
                left = left[os.write(self._descriptor, left) :]
            os.fsync(self._descriptor)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._size)  # the beginning of a line that did not fit
            raise
        self._size += len(line)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _line(kind: str, content: Mapping[str, Any]) -> bytes:
    return encode_line({"kind": kind, **content}) + b"\n"


def _require_own(path: Path) -> None:
    """Raises UsageError for a file with other content: it is never renamed."""
    try:
        with path.open("rb") as file:
            head = file.readline(MAX_HEADER_BYTES)
    except FileNotFoundError:
        return
    except OSError as reason:
        raise SacvitError(f"--power-log {path} cannot be read: {reason.strerror or reason}") from None
    try:
        if head:
            read_log_line(head, None)
    except (ValueError, RecursionError):
        raise UsageError(f"--power-log {path} exists and is no log of this option; give another name") from None


def _lock(path: Path, descriptor: int | None = None) -> None:
    """Keeps other runs from the file while the descriptor is open; without one, only looks. Raises UsageError."""
    own = os.open(path, os.O_RDONLY) if descriptor is None else descriptor
    try:
        fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as reason:
        if reason.errno not in NO_LOCKS:
            raise UsageError(f"--power-log {path} is in use: another sacvit-run writes it; give another name") from None
    finally:
        if descriptor is None:
            os.close(own)
