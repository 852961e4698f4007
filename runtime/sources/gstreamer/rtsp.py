"""RTSP streams through GStreamer, with FFmpeg to fall back on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from ....bundle.errors import UsageError
from ..address import Address
from ..capture import Capture
from ..frame import OpenOptions
from ..probe import Reply, ask
from .capture import MOST_BEHIND_S, PipelineCapture
from .decoders import choose_decoder, codec_of_description, has_end, is_baseline
from .library import PipelineError, gstreamer
from .pipelines import rtsp_pipeline

logger = logging.getLogger(__name__)

NO_REPLY = Reply(0, "", {}, "")


class RtspOpener:
    """Opens an RTSP stream through GStreamer where it is installed, else through FFmpeg, which also takes over when GStreamer
    gives no picture. Which one decodes is logged when it changes.
    """

    def __init__(self, address: Address, options: OpenOptions, open_by_ffmpeg: Callable[[float], Capture]) -> None:
        self._address, self._options, self._open_by_ffmpeg = address, options, open_by_ffmpeg
        self._is_there = gstreamer() is not None
        self._is_next, self._has_worked = self._is_there, False  # of GStreamer
        self._lock = threading.Lock()  # beside an attempt that hangs there is another
        self._is_late = False
        self.way = ""  # what decodes, for people

    def __call__(self, allowed_s: float) -> Capture:
        """Raises OSError when the server gives no stream, TimeoutError when that takes longer."""
        try:
            reply = ask(self._address, allowed_s)
        except (ValueError, UsageError):
            reply = NO_REPLY
        codec = codec_of_description(reply.body)
        decoder = choose_decoder(codec) if codec else None
        with self._lock:
            is_tried = self._is_next and reply.status == 200 and (decoder is not None or codec is None)
            is_tried = is_tried and not has_end(reply.body)  # FFmpeg knows how many frames a recording has
            if is_tried:  # an attempt that hangs is followed by one of FFmpeg
                self._is_next = False
        why = ""
        if is_tried:
            text = rtsp_pipeline(self._address, codec, decoder, is_reordered=not is_baseline(reply.body))
            try:
                found = PipelineCapture(text, allowed_s, self._options.read_timeout_s, self._note_late)
            except PipelineError as reason:
                why = f"; GStreamer reports: {reason}"
            else:
                if found.isOpened():
                    self._is_next = self._has_worked = True
                    self._note(decoder.words if decoder else "GStreamer (decodebin)")
                    return found
                found.release()
                why = f"; {decoder.words if decoder else 'GStreamer'} gives no picture: {found.fault}"
        is_open = False
        try:
            capture = self._open_by_ffmpeg(allowed_s)
            is_open = capture.isOpened()
        finally:
            self._is_next = self._is_there and (self._has_worked or not is_open)
        if is_open:
            self._note(f"FFmpeg (software){why}")
        return capture

    def _note_late(self) -> None:
        if not self._is_late:  # once: it happens again every few seconds
            self._is_late = True
            logger.warning(
                "%s: decoding is slower than the stream. It is opened again whenever it is %g s behind; ask the camera for"
                " fewer frames per second or smaller pictures",
                *(self._address.shown, MOST_BEHIND_S),
            )

    def _note(self, way: str) -> None:
        with self._lock:
            is_new, self.way = way != self.way, way
        if is_new:
            logger.info("%s: decoded by %s", self._address.shown, way)
