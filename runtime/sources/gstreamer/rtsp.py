"""RTSP streams through GStreamer, with FFmpeg to fall back on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from ....bundle.errors import UsageError
from ..address import Address
from ..capture import Capture
from ..frame import OpenOptions
from ..probe import OK, ask, connect
from .capture import MOST_BEHIND_S, PipelineCapture
from .decoders import choose_decoder, codec_of_description, has_end, is_baseline
from .library import PipelineError, gstreamer
from .pipelines import rtsp_pipeline

logger = logging.getLogger(__name__)

SURE_S = 1.0  # a stream that worked before gives its first picture within this, or three times what it last took


class RtspOpener:
    """Opens an RTSP stream through GStreamer where it is installed, else through FFmpeg, which also takes over when GStreamer
    gives no picture. Which one decodes is logged when it changes.
    """

    def __init__(self, address: Address, options: OpenOptions, open_by_ffmpeg: Callable[[float], Capture]) -> None:
        self._address, self._options, self._open_by_ffmpeg = address, options, open_by_ffmpeg
        self._avoids_gstreamer = gstreamer() is None
        self._known: str | None = None  # the description of the stream that GStreamer gave pictures of
        self._took_s: float | None = None  # by GStreamer, to the first picture
        self._is_late = False
        self.way = ""  # what decodes, for people

    def __call__(self, allowed_s: float) -> Capture:
        """Raises OSError when the server gives no stream, TimeoutError when that takes longer."""
        description = self._describe(allowed_s)
        why = ""
        # FFmpeg knows how many frames a recording has.
        if description and not self._avoids_gstreamer and not has_end(description):
            try:
                return self._open_by_gstreamer(description, allowed_s)
            except PipelineError as reason:
                self._known, why = None, f"; GStreamer gives no picture: {reason}"
        capture = self._open_by_ffmpeg(allowed_s)
        if capture.isOpened():
            self._avoids_gstreamer |= self._took_s is None
            self._note(f"FFmpeg (software){why}")
        return capture

    def _describe(self, allowed_s: float) -> str:
        """The server's description of the stream; empty where it gives none. A known one is not asked for again: some servers
        give a client nothing that comes right after another one has left."""
        if self._known is not None:
            connect(self._address).close()
            return self._known
        try:
            reply = ask(self._address, allowed_s)
        except (ValueError, UsageError):
            return ""
        return reply.body if reply.status == OK else ""

    def _open_by_gstreamer(self, description: str, allowed_s: float) -> Capture:
        """Raises PipelineError without a picture. A server may set a stream up and never send it: one that worked before is
        then opened a second time, which usually helps."""
        codec = codec_of_description(description)
        decoder = choose_decoder(codec) if codec else None
        if codec and decoder is None:
            raise PipelineError(f"it has no decoder for {codec.rtp_name}")
        text = rtsp_pipeline(self._address, codec, decoder, is_reordered=not is_baseline(description))
        limits = [allowed_s] if self._took_s is None else [max(SURE_S, 3 * self._took_s), allowed_s]
        for limit_s in limits:
            began = time.monotonic()
            capture = PipelineCapture(text, min(limit_s, allowed_s), self._options.read_timeout_s, self._note_late)
            if capture.isOpened():
                self._known, self._took_s = description, time.monotonic() - began
                self._note(decoder.words if decoder else "GStreamer (decodebin)")
                return capture
            capture.release()
            if not capture.is_silent:
                break
        raise PipelineError(capture.fault)

    def _note_late(self) -> None:
        if not self._is_late:  # once: it happens again every few seconds
            self._is_late = True
            logger.warning(
                "%s: decoding is slower than the stream. It is opened again whenever it is %g s behind; ask the camera for"
                " fewer frames per second or smaller pictures",
                *(self._address.shown, MOST_BEHIND_S),
            )

    def _note(self, way: str) -> None:
        if way != self.way:
            self.way = way
            logger.info("%s: decoded by %s", self._address.shown, way)
