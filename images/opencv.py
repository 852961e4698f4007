"""Settings of OpenCV."""

from __future__ import annotations

import os


def silence_opencv() -> None:
    """Turns off OpenCV's warnings, which come with every retry and say less than ours. Call it before OpenCV is imported."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("QT_LOGGING_RULES", "*.warning=false")  # of missing fonts that are not needed
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET: FFmpeg's own log
