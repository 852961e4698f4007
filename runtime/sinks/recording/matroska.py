"""Matroska with one track of JPEG pictures: readable up to its last frame at every moment, also after a kill.

Sources: RFC 9559 (Matroska), RFC 8794 (EBML). OpenCV's own writers keep frames in memory, need a fixed rate, and do not report
a full disk.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

CLUSTER_MS = (
    1000  # frames per cluster: players jump to its first frame. A frame's offset has 16 bits: at most 32 767 ms
)
UNKNOWN = b"\x01" + 7 * b"\xff"  # a size that is not known yet, 8 bytes
EPOCH_S = 978_307_200  # of Matroska's dates: 2001-01-01, in Unix time
VOID, SEGMENT, SEEK_HEAD, INFO, DURATION = 0xEC, 0x18538067, 0x114D9B74, 0x1549A966, 0x4489
CLUSTER, SIMPLE_BLOCK, CUES = 0x1F43B675, 0xA3, 0x1C53BB6B
APPLICATION = b"sacvit"


class MatroskaFile:
    """A new file of pictures of one size. Each frame is handed to the system at once, with its own time.

    began_s: when the first frame was taken, Unix time. Raises OSError; after a failed write, the file holds the frames before.
    """

    def __init__(self, path: Path, size: tuple[int, int], began_s: float) -> None:
        self.path, self.size = path, size
        self.bytes = self.frames = 0
        self._last_ms = self._cluster_ms = 0
        self._cluster_at: int | None = None  # where the size of the open cluster stands
        self._cues: list[tuple[int, int]] = []  # time and place of each cluster
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            self._write_head(began_s)
        except OSError:
            os.close(self._file)
            path.unlink(missing_ok=True)
            raise

    def _write_head(self, began_s: float) -> None:
        head = element(0x4286, b"\x01") + element(0x42F7, b"\x01") + element(0x42F2, b"\x04") + element(0x42F3, b"\x08")
        head += element(0x4282, b"matroska") + element(0x4287, b"\x04") + element(0x4285, b"\x02")
        self._append(element(0x1A45DFA3, head) + identifier(SEGMENT) + UNKNOWN)
        self._segment_at = self.bytes  # positions count from here
        seek_head, duration = seek_head_to(0), element(DURATION, bytes(8))
        self._append(space(len(seek_head)))
        info = element(0x2AD7B1, number(1_000_000)) + element(0x4D80, APPLICATION) + element(0x5741, APPLICATION)
        info += element(0x4461, struct.pack(">q", int((began_s - EPOCH_S) * 1e9)))
        info = element(INFO, info + space(len(duration)))
        self._append(info)
        self._duration_at = self.bytes - len(duration)
        video = element(0xB0, number(self.size[0])) + element(0xBA, number(self.size[1]))
        track = element(0xD7, b"\x01") + element(0x73C5, b"\x01") + element(0x83, b"\x01") + element(0x9C, b"\x00")
        self._append(element(0x1654AE6B, element(0xAE, track + element(0x86, b"V_MJPEG") + element(0xE0, video))))

    def write(self, time_ms: int, jpeg: bytes) -> None:
        """A frame, so many milliseconds after the first one."""
        time_ms, data = max(time_ms, self._last_ms), b""
        is_new = self._cluster_at is None or time_ms - self._cluster_ms >= CLUSTER_MS
        if is_new:
            self._end_cluster()
            data = identifier(CLUSTER) + UNKNOWN + element(0xE7, number(time_ms))
        start_ms = time_ms if is_new else self._cluster_ms
        block = b"\x81" + struct.pack(">hB", time_ms - start_ms, 0x80) + jpeg  # track 1, a key frame
        began = self.bytes
        self._append(data + element(SIMPLE_BLOCK, block))
        if is_new:
            self._cluster_ms, self._cluster_at = time_ms, began + 4
            self._cues.append((time_ms, began - self._segment_at))
        self._last_ms = time_ms
        self.frames += 1

    def descriptor(self) -> int:
        """Another descriptor of the file, for a thread that waits until the file is on the disk."""
        return os.dup(self._file)

    def finish(self) -> None:
        """Adds the duration and an index, by which players jump."""
        self._end_cluster()
        cues_at = self.bytes - self._segment_at
        self._append(element(CUES, b"".join(cue(*one) for one in self._cues)))
        os.pwrite(self._file, seek_head_to(cues_at), self._segment_at)
        shown_ms = self._last_ms * self.frames / max(1, self.frames - 1)  # the last frame lasts as long as the others
        os.pwrite(self._file, element(DURATION, struct.pack(">d", shown_ms)), self._duration_at)
        os.pwrite(self._file, size_of(self.bytes - self._segment_at), self._segment_at - 8)

    def close(self) -> None:
        """Closes the file as it is: without `finish` it plays to its last frame too, but players cannot jump in it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _end_cluster(self) -> None:
        if self._cluster_at is not None:
            os.pwrite(self._file, size_of(self.bytes - self._cluster_at - 8), self._cluster_at)
            self._cluster_at = None

    def _append(self, data: bytes) -> None:
        """Adds all of the data to the file, or nothing."""
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError:
            os.ftruncate(self._file, self.bytes)
            os.lseek(self._file, self.bytes, os.SEEK_SET)
            raise
        self.bytes += len(data)


def identifier(name: int) -> bytes:
    return name.to_bytes((name.bit_length() + 7) // 8, "big")


def number(value: int) -> bytes:
    """An unsigned integer of 8 bytes."""
    return value.to_bytes(8, "big")


def size_of(length: int) -> bytes:
    """The length of an element, in 8 bytes, so that it can be written over UNKNOWN."""
    return (length | 1 << 56).to_bytes(8, "big")


def element(name: int, content: bytes) -> bytes:
    return identifier(name) + size_of(len(content)) + content


def space(length: int) -> bytes:
    """An element of so many bytes without a meaning, to be overwritten."""
    return element(VOID, bytes(length - 9))


def seek_head_to(cues_at: int) -> bytes:
    """An element of constant length that says where the index stands."""
    return element(SEEK_HEAD, element(0x4DBB, element(0x53AB, identifier(CUES)) + element(0x53AC, number(cues_at))))


def cue(time_ms: int, place: int) -> bytes:
    """An entry of the index: the time of a cluster and its place."""
    return element(
        0xBB, element(0xB3, number(time_ms)) + element(0xB7, element(0xF7, b"\x01") + element(0xF1, number(place)))
    )
