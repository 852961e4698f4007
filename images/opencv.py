"""How OpenCV behaves under us."""

from __future__ import annotations

import os


def silence_opencv() -> None:
    """OpenCV's own warnings say less than our messages, and say it for every retry. It reads this when it is imported."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("QT_LOGGING_RULES", "*.warning=false")  # the window's toolkit misses fonts it does not need
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET: FFmpeg's, which goes past OpenCV's
