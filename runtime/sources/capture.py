"""OpenCV's VideoCapture: the part that our sources use, and settings that it takes from the environment only."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

POSITION_MS, FPS, FRAME_COUNT = 0, 5, 7  # cv2.CAP_PROP_POS_MSEC, CAP_PROP_FPS, CAP_PROP_FRAME_COUNT
MAY_MISS = 0.02  # share of the frames: containers round their count
MOST_FRAMES = 1e9  # larger counts are wrong: unfinished files give 2.8e17 of either sign


class Capture(Protocol):
    """The methods of OpenCV's VideoCapture that the sources use."""

    def isOpened(self) -> bool: ...  # noqa: N802 - OpenCV's name

    def read(self) -> tuple[bool, Any]: ...  # (H, W, 3) uint8 BGR

    def get(self, number: int) -> float: ...

    def release(self) -> None: ...


def opencv_has(feature: str) -> bool:
    """Whether this OpenCV was built with a feature, such as FFMPEG or GStreamer."""
    import cv2

    return re.search(rf"\b{feature}:\s+YES", cv2.getBuildInformation()) is not None


def announced_frames(capture: Capture) -> int | None:
    """The number of frames that a file or a finite stream announces; None for a live one, and where it is unknown."""
    count = capture.get(FRAME_COUNT)
    return int(count) if 0 < count < MOST_FRAMES else None


def is_cut_short(given: int, announced: int | None) -> bool:
    """Whether fewer frames came than were announced."""
    return announced is not None and given < announced - max(1, MAY_MISS * announced)


def has_reached_end(given: int, position_ms: float, rate: float, announced: int | None) -> bool:
    """Whether the last frame is at the end of the announced frames. position_ms: OpenCV's value when the frame was read.

    Matroska, MPEG-TS and streams store a duration and no count: OpenCV multiplies it by the rate, so that a recording whose
    rate varies seems to have more frames than it has.
    """
    if announced is None or not rate > 0 or given < 2:
        return False
    end_s = position_ms / 1e3 * given / (given - 1)  # the last frame is shown for a while, too
    return end_s >= (announced - 1) / rate * (1 - MAY_MISS)


def codec_of(capture: Capture) -> str:
    """The FOURCC of the capture's codec, such as h264 or AV01; `unknown` where there is none."""
    import cv2

    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    name = code.to_bytes(4, "little").decode("latin-1") if 0 < code < 2**32 else ""
    return name if name.isprintable() and name.strip() else "unknown"


class _FfmpegOptions:
    """OPENCV_FFMPEG_CAPTURE_OPTIONS, which OpenCV reads whenever it opens something: it is set while a source needs it. All
    sources set the same text, so they do not wait for each other. A user's own setting stays.
    """

    NAME = "OPENCV_FFMPEG_CAPTURE_OPTIONS"

    def __init__(self, text: str) -> None:
        self._text, self._lock, self._users = text, threading.Lock(), 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            is_ours = self._users > 0 or self.NAME not in os.environ
            if is_ours:
                self._users += 1
                os.environ[self.NAME] = self._text
        try:
            yield
        finally:
            with self._lock:
                if is_ours:
                    self._users -= 1
                    if not self._users:
                        del os.environ[self.NAME]


# FFmpeg would look at 5 s of an RTSP stream, or some 20 frames, before the first picture: too long below 5 frames per second.
# The text replaces OpenCV's own default, whose TCP it repeats.
rtsp_options = _FfmpegOptions("rtsp_flags;prefer_tcp|analyzeduration;1|fpsprobesize;0")
