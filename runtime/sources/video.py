"""Videos: every frame, upright, from a file or from a network stream that has an end."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ...bundle.errors import ImageError
from .capture import FPS, POSITION_MS, Capture, announced_frames, codec_of, has_reached_end, is_cut_short
from .frame import Frame
from .read_ahead import ReadAhead

if TYPE_CHECKING:
    from ...bundle.preprocess import ImageU8

COUNTING = (b"ftyp", b"AVI ")  # bytes 4 to 8, or 8 to 12, of files that store their number of frames
MOST_BOXES = 4096
MATRIX_PLACE = {0: 40, 1: 52}  # in a track header, by its version
# The four corners of the matrix that turns a picture, in 1/65536: how far it turns clockwise, in quarters.
ONE = 1 << 16
QUARTERS = {(ONE, 0, 0, ONE): 0, (0, ONE, -ONE, 0): 1, (-ONE, 0, 0, -ONE): 2, (0, -ONE, ONE, 0): 3}


class VideoFile(ReadAhead):
    """Every frame of a video. One with fewer frames than it announces is named in `faults`; one without a frame raises
    ImageError.

    name: for messages. open_capture: opens it from its beginning. quarters: turns of 90 degrees clockwise that make
    its frames upright. counts: the file stores its number of frames; otherwise OpenCV estimates it.
    """

    def __init__(
        self,
        name: str,
        open_capture: Callable[[], Capture],
        loop: bool = False,
        *,
        quarters: int = 0,
        counts: bool = False,
    ) -> None:
        super().__init__()
        self.name, self._open_capture, self.loop = name, open_capture, loop
        self._quarters, self._counts = quarters, counts
        capture = self._open()
        rate = capture.get(FPS)
        self.announced, self.codec = announced_frames(capture), codec_of(capture)
        capture.release()
        self.total = None if loop else self.announced
        self.fps: float | None = rate if 0 < rate < 1000 else None

    def _open(self) -> Capture:
        try:
            capture = self._open_capture()
        except OSError as reason:  # of a network stream
            raise ImageError(f"{self.name} does not answer: {reason.strerror or reason}") from None
        if not capture.isOpened():
            capture.release()
            raise ImageError(f"{self.name} is no video that this OpenCV can decode, or was cut short before its index")
        return capture

    def frames(self) -> Iterator[Frame]:
        index = 0
        short_name = self.name.rsplit("/", 1)[-1]
        while True:
            capture = self._open()
            given, position_ms = 0, 0.0
            try:
                while True:
                    ok, image = capture.read()
                    if not ok:
                        break
                    position_ms = capture.get(POSITION_MS)  # a failed read resets it
                    yield Frame(index, f"{short_name}#{given}", turned(image, self._quarters))
                    index, given = index + 1, given + 1
            finally:
                capture.release()
            if not given:
                raise ImageError(
                    f"{self.name}: this OpenCV decodes no frame of it. Its codec is {self.codec}; if OpenCV lacks that"
                    f" one, convert the video: ffmpeg -i IN -c:v libx264 OUT.mp4. Otherwise the video is empty or damaged"
                )
            has_ended = not self._counts and has_reached_end(given, position_ms, self.fps or 0, self.announced)
            if is_cut_short(given, self.announced) and not has_ended:
                fault = f"{self.name} was cut short: {given} of {self.announced} frames could be decoded"
                if fault not in self.faults:
                    self.faults.append(fault)
            if not self.loop:
                return


def turned(image: ImageU8, quarters: int) -> ImageU8:
    """The image, turned clockwise by so many times 90 degrees."""
    import cv2

    codes = (cv2.ROTATE_90_CLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_COUNTERCLOCKWISE)
    return cv2.rotate(image, codes[quarters - 1]) if quarters else image  # type: ignore[return-value]


def counts_frames(path: Path) -> bool:
    """Whether a file's container stores how many frames it has."""
    with path.open("rb") as file:
        head = file.read(12)
    return head[4:8] in COUNTING or head[8:12] in COUNTING


def stored_quarters(path: Path) -> int | None:
    """How many turns of 90 degrees clockwise a phone's video needs, as its MP4 or MOV file says; None for any other file.

    OpenCV's releases differ: 4.6 turns some in the wrong direction, 4.11 turns none.
    """
    with path.open("rb") as file:
        if file.read(8)[4:] != b"ftyp":
            return None
        try:
            return next(_turns(file, os.fstat(file.fileno()).st_size), None)
        except struct.error:  # cut short: the decoder reports it
            return None


def _turns(file: BinaryIO, size: int) -> Iterator[int | None]:
    """The quarter turns of each video track."""
    for movie in _boxes(file, b"moov", 0, size):
        for track in _boxes(file, b"trak", *movie):
            for start, _ in _boxes(file, b"tkhd", *track):
                file.seek(start)
                place = MATRIX_PLACE.get(file.read(1)[0] if start < size else 0, 40)
                file.seek(start + place)
                a, b, _, c, d, *_, width, _ = struct.unpack(">11i", file.read(44))
                if width:  # 0: sound
                    yield QUARTERS.get((a, b, c, d))


def _boxes(file: BinaryIO, kind: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where the contents of the boxes of a kind begin and end."""
    for _ in range(MOST_BOXES):
        if start + 8 > end:
            return
        file.seek(start)
        length, found = struct.unpack(">I4s", file.read(8))
        head = 8
        if length == 1:
            (length,), head = struct.unpack(">Q", file.read(8)), 16
        stop = end if length == 0 else start + length
        if stop < start + head:
            return
        if found == kind:
            yield start + head, min(stop, end)
        start = stop
