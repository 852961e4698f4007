"""The open segment of each camera: a new one after so many seconds, when it is large, and when the frames change their size."""

from __future__ import annotations

import time
from collections.abc import Callable

from .disk import Disk
from .folder import RecordingFolder
from .matroska import MatroskaFile
from .picture import Picture

MOST_BYTES = 2 << 30  # per segment: FAT, which memory cards have, takes 4 GiB
SHARE = 8  # open segments hold at most this part of the folder's limit, so that a removal leaves the rest
SYNC_S = 1.0  # a power cut loses about this much of an open segment


class Segments:
    """Writes pictures of several cameras, each into its own segments. Raises OSError for a disk that is full or broken."""

    def __init__(
        self, folder: RecordingFolder, disk: Disk, segment_s: float, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder, self._disk, self._segment_s, self._monotonic_s = folder, disk, segment_s, monotonic_s
        self._open: dict[int, tuple[MatroskaFile, float]] = {}  # by stream; and when its first frame was taken
        self._looked_s = float("-inf")

    def write(self, picture: Picture) -> None:
        if self._monotonic_s() - self._looked_s >= SYNC_S:
            self._looked_s = self._monotonic_s()
            self._disk.sync([one.descriptor() for one, _ in self._open.values()])
            self._folder.require_room()
            self._folder.make_room()
        current = self._open.get(picture.stream)
        if current is not None and self._is_over(*current, picture):
            self._end(picture.stream)
            current = None
        file, began_s = self._begin(picture) if current is None else current
        file.write(round(1e3 * (picture.taken_s - began_s)), picture.jpeg)

    def _is_over(self, file: MatroskaFile, began_s: float, picture: Picture) -> bool:
        limit = self._folder.keep_bytes
        most_bytes = MOST_BYTES if limit is None else min(MOST_BYTES, limit // (SHARE * len(self._open)))
        lasts_s = picture.taken_s - began_s
        return file.size != picture.size or not 0 <= lasts_s < self._segment_s or file.bytes >= most_bytes

    def _begin(self, picture: Picture) -> tuple[MatroskaFile, float]:
        self._folder.require_room()
        self._folder.make_room()
        path = self._folder.new_file(picture.stream, picture.unix_s)
        try:
            file = MatroskaFile(path, picture.size, picture.unix_s)
        except OSError:
            self._folder.end_file(path)
            raise
        self._open[picture.stream] = file, picture.taken_s
        return self._open[picture.stream]

    def _end(self, stream: int) -> None:
        file, _ = self._open.pop(stream)
        try:
            file.finish()
            self._disk.sync([file.descriptor()])
        finally:
            file.close()
            self._folder.end_file(file.path)

    def abandon(self) -> None:
        """Leaves all segments as they are, for a disk that takes no more. The next picture begins a new one."""
        for file, _ in self._open.values():
            file.close()
            self._folder.end_file(file.path)
        self._open = {}

    def close(self) -> None:
        """Ends all segments. Raises OSError where one could not be ended; all are closed."""
        try:
            while self._open:
                self._end(next(iter(self._open)))
        finally:
            self.abandon()
