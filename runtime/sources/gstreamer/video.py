"""Video files through a hardware decoder. Without one, FFmpeg is as good: it decodes with all cores."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path

from ..capture import POSITION_MS, Capture, codec_of
from .capture import PipelineCapture
from .decoders import CODECS, choose_decoder
from .pipelines import file_pipeline

logger = logging.getLogger(__name__)

PICTURE_S = 10.0  # for one picture; a decoder that takes longer hangs


class HardwareVideo:
    """See `Capture`. Frames of a pipeline; what the file announces is asked of FFmpeg, which knows the number of frames."""

    def __init__(self, pipeline: Capture, announcing: Capture) -> None:
        self._pipeline, self._announcing = pipeline, announcing
        self.isOpened, self.read = pipeline.isOpened, pipeline.read

    def get(self, number: int) -> float:
        return (self._pipeline if number == POSITION_MS else self._announcing).get(number)

    def release(self) -> None:
        self._pipeline.release()
        self._announcing.release()


@cache
def _report(name: str, way: str) -> None:
    """Logs once what decodes a video: it is opened twice."""
    logger.info("%s: decoded by %s", name, way)


def by_hardware(path: Path, capture: Capture) -> Capture:
    """The video of an FFmpeg capture through a hardware decoder. The capture itself where none gives a picture."""
    fourcc = codec_of(capture)
    codec = next((one for one in CODECS if fourcc in one.fourccs), None)
    decoder = choose_decoder(codec) if codec is not None and capture.isOpened() else None
    if decoder is None or not decoder.is_hardware:
        return capture
    pipeline = PipelineCapture(file_pipeline(path, decoder), PICTURE_S, PICTURE_S)
    if not pipeline.isOpened():
        pipeline.release()
        _report(path.name, f"FFmpeg (software); {decoder.words} gives no picture: {pipeline.fault}")
        return capture
    _report(path.name, decoder.words)
    return HardwareVideo(pipeline, capture)
