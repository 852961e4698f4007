"""The live window."""

from __future__ import annotations

import os
import sys

import cv2

from ...bundle.errors import DeviceError
from .overlay import draw_overlay
from .sink import Answer, Quit

TITLE = "sacvit - q quits"


class Window:
    """Shows frames with their overlay; q or Escape ends the run."""

    def __init__(self) -> None:
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise DeviceError(
                "--show needs a display, and neither DISPLAY nor WAYLAND_DISPLAY is set. Use --save out.mp4"
            )
        try:
            cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)  # no toolbar
        except cv2.error as reason:
            raise DeviceError(f"--show: this OpenCV opens no window: {str(reason).strip().splitlines()[-1]}") from None

        self._sized = False

    def write(self, answer: Answer) -> None:
        image = draw_overlay(
            answer.frame.image, answer.region, answer.grid, answer.result, answer.threshold, answer.running
        )
        if not self._sized:
            cv2.resizeWindow(TITLE, image.shape[1], image.shape[0])
            self._sized = True
        cv2.imshow(TITLE, image)
        key = cv2.waitKey(1) & 0xFF
        if key in (ord("q"), 27) or cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) < 1:
            raise Quit

    def close(self) -> None:
        cv2.destroyAllWindows()
