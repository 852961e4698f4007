"""The annotated video."""

from __future__ import annotations

import os
from pathlib import Path
from time import monotonic

import cv2
import numpy as np

from ...bundle.errors import SacvitError, UsageError
from ...bundle.files import require_writable
from ...bundle.preprocess import ImageU8
from .overlay import draw_overlay
from .sink import Answer

LIVE_FPS = 30.0  # for sources without a rate
PICTURES_FPS = 2.0  # a folder of pictures: half a second each
MOST_FILLED_S = 1.0  # of a camera's silence that is filled with its last frame: writing two minutes of it takes 40 s


class ClipWriter:
    """Writes frames with their overlay as MP4; the file takes its name when it is closed. The first frame sets the size.

    live: frames come when they come; they are repeated or left out so that the clip runs in real time. An outage takes
    MOST_FILLED_S in the clip.
    """

    def __init__(self, path: Path, fps: float, live: bool = False) -> None:
        if path.suffix.lower() != ".mp4":
            raise UsageError(f"--save {path}: give a name that ends in .mp4, or in / for a folder of segments")
        require_writable(path, "--save", ".mp4")
        self.path, self.fps, self.live = path, fps, live
        self._partial = path.with_name(f".{path.stem}.{os.getpid()}.part.mp4")
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._began = 0.0
        self._written = 0

    def write(self, answer: Answer) -> None:
        canvas = draw_overlay(
            answer.frame.image, answer.region, answer.grid, answer.result, answer.threshold, answer.running
        )
        if self._writer is None:
            self._size = (canvas.shape[1] // 2 * 2, canvas.shape[0] // 2 * 2)  # codecs need even sides
            writer = cv2.VideoWriter(str(self._partial), cv2.VideoWriter.fourcc(*"mp4v"), self.fps, self._size)
            if not writer.isOpened():
                raise SacvitError(f"--save {self.path}: no MPEG-4 file can be written there; try another folder")
            self._writer, self._began = writer, monotonic()
        due = self._written + 1
        if self.live:
            due = int((monotonic() - self._began) * self.fps) + 1
            left_out = due - self._written - max(1, round(MOST_FILLED_S * self.fps))
            if left_out > 0:
                self._began += left_out / self.fps
                due -= left_out
        picture = letterbox(canvas, self._size)
        for _ in range(due - self._written):
            self._writer.write(picture)
            self._written += 1  # after it: a Ctrl-C in between leaves one frame more than were counted

    def close(self) -> None:
        """Gives the clip its name. Raises SacvitError, and removes it, when the file on the disk cannot be played."""
        if self._writer is None:
            return
        try:
            self._writer.release()
            if not can_play(self._partial, self._written):  # the writer itself does not report a full disk
                raise SacvitError(f"--save {self.path}: the clip could not be written whole; is the disk full?")
            os.replace(self._partial, self.path)
        finally:
            self._partial.unlink(missing_ok=True)


def can_play(path: Path, frames: int) -> bool:
    """Whether the file can be opened and holds at least so many frames: fewer are left where a disk was full."""
    capture = cv2.VideoCapture(str(path))
    try:
        return capture.isOpened() and int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) >= frames
    finally:
        capture.release()


def letterbox(canvas: ImageU8, size: tuple[int, int]) -> ImageU8:
    """The canvas, fitted into (width, height) with black bars where the shapes differ."""
    width, height = size
    if canvas.shape[:2] == (height, width):
        return canvas
    scale = min(width / canvas.shape[1], height / canvas.shape[0])
    inner = (max(1, round(canvas.shape[1] * scale)), max(1, round(canvas.shape[0] * scale)))
    out = np.zeros((height, width, 3), np.uint8)
    top, left = (height - inner[1]) // 2, (width - inner[0]) // 2
    out[top : top + inner[1], left : left + inner[0]] = cv2.resize(canvas, inner, interpolation=cv2.INTER_AREA)
    return out
