"""The annotated video."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from ...bundle.errors import SacvitError, UsageError
from ...bundle.preprocess import ImageU8
from .overlay import draw_overlay
from .sink import Answer

LIVE_FPS = 30.0  # for sources that do not say
PICTURES_FPS = 2.0  # a folder of pictures: half a second each


class ClipWriter:
    """Writes frames with their overlay as MP4; the file takes its name when it is closed. The first frame sets the size."""

    def __init__(self, path: Path, fps: float) -> None:
        if path.suffix.lower() != ".mp4":
            raise UsageError(f"--save {path}: give a name that ends in .mp4")
        if not path.parent.is_dir():
            raise SacvitError(f"--save {path}: the folder {path.parent} does not exist")
        self.path, self.fps = path, fps
        self._partial = path.with_name(f".{path.stem}.{os.getpid()}.part.mp4")
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def write(self, answer: Answer) -> None:
        canvas = draw_overlay(
            answer.frame.image, answer.region, answer.grid, answer.result, answer.threshold, answer.running
        )
        if self._writer is None:
            self._size = (canvas.shape[1] // 2 * 2, canvas.shape[0] // 2 * 2)  # codecs want even sides
            self._writer = cv2.VideoWriter(str(self._partial), cv2.VideoWriter.fourcc(*"mp4v"), self.fps, self._size)
            if not self._writer.isOpened():
                raise SacvitError(f"--save {self.path}: this OpenCV cannot write MPEG-4; install opencv-python")
        self._writer.write(letterbox(canvas, self._size))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.release()
            os.replace(self._partial, self.path)


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
