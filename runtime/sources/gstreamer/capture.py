"""A pipeline of GStreamer as a source of pictures, with limits on every wait."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from ctypes import byref, c_int, c_int64, c_uint64
from typing import Any

from ..capture import FPS, FRAME_COUNT, POSITION_MS
from .ends import BGR, SINK
from .library import PipelineError, error_on, gstreamer, pipeline_from_text

PLAYING, NULL = 4, 1  # GstState
FORMAT_TIME = 3  # GstFormat
PTS_PLACE = 72  # of the time in a GstBuffer, after GstMiniObject and a pointer, where pointers have 8 bytes
NO_TIME = 2**64 - 1
SLICE_NS = 100_000_000  # between looks for an error, which ends no wait for a picture
MOST_BEHIND_S = 2.0  # that a decoder may be behind its stream


class PipelineCapture:
    """See `Capture` in ../capture.py. Pictures of the pipeline's appsink named SINK, as BGR.

    The first picture is waited for at once, for `first_s`: only that shows that a pipeline works. read_s: for each later one.
    report_late: is called when a live pipeline is MOST_BEHIND_S later than at its best. Then it ends, since what waits in front
    of its decoder can only grow. fault: why it gives no picture; is_silent: because none came in time. Raises PipelineError
    for a text that is no pipeline.
    """

    def __init__(self, text: str, first_s: float, read_s: float, report_late: Callable[[], None] | None = None) -> None:
        library = gstreamer()
        if library is None:
            raise PipelineError("GStreamer is not installed")
        self._library, self._read_s, self._report_late = library, read_s, report_late
        self.fault, self.is_silent = "", False
        self._position_s, self._rate = 0.0, 0.0
        self._best_s = math.inf  # from a picture's time in the stream to its read
        self._pipeline = pipeline_from_text(library, text)
        self._bus = library.gst_element_get_bus(self._pipeline)
        self._sink = library.gst_bin_get_by_name(self._pipeline, SINK.encode())
        assert self._sink, f"every pipeline has an appsink named {SINK}"
        library.gst_element_set_state(self._pipeline, PLAYING)
        self._first: Any = self._pulled(first_s)
        self._works = self._first is not None

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return self._works

    def read(self) -> tuple[bool, Any]:
        if self._first is not None:
            image, self._first = self._first, None
            return True, image
        image = self._pulled(self._read_s)
        if image is not None and self._report_late is not None:
            # GStreamer corrects the stream's times by this machine's clock, so a camera with a wrong one is not late.
            behind_s = time.monotonic() - self._position_s
            self._best_s = min(self._best_s, behind_s)
            if behind_s - self._best_s > MOST_BEHIND_S:
                self._report_late()
                return False, None
        return image is not None, image

    def _pulled(self, limit_s: float) -> Any:
        """The next picture, (H, W, 3) uint8 BGR; None at the end, after an error, and after limit_s."""
        until = time.monotonic() + limit_s
        while True:
            sample = self._library.gst_app_sink_try_pull_sample(self._sink, SLICE_NS)
            error = error_on(self._library, self._bus)  # also empties the bus
            if sample:
                try:
                    return self._picture(sample)
                finally:
                    self._library.gst_mini_object_unref(sample)
            if error is not None:
                self.fault = f"GStreamer reports: {error}"
            elif self._library.gst_app_sink_is_eos(self._sink):
                self.fault = "the pipeline has ended"
            elif time.monotonic() >= until:
                self.fault, self.is_silent = f"no picture within {limit_s:g} s", True
            else:
                continue
            return None

    def _picture(self, sample: int) -> Any:
        import numpy as np  # --help reads the table of sources

        library = self._library
        caps = library.gst_caps_get_structure(library.gst_sample_get_caps(sample), 0)
        width, height, over, under = c_int(), c_int(), c_int(), c_int()
        library.gst_structure_get_int(caps, b"width", byref(width))
        library.gst_structure_get_int(caps, b"height", byref(height))
        buffer = library.gst_sample_get_buffer(sample)
        size, stride = library.gst_buffer_get_size(buffer), (3 * width.value + 3) // 4 * 4
        form = library.gst_structure_get_string(caps, b"format")
        if form != b"BGR" or size != stride * height.value:
            self.fault = (
                f"it gives {(form or b'no raw').decode()} pictures, not BGR. Write ! {BGR} in front of its appsink"
            )
            return None
        if library.gst_structure_get_fraction(caps, b"framerate", byref(over), byref(under)) and under.value:
            self._rate = over.value / under.value
        time_ns = c_uint64.from_address(buffer + PTS_PLACE).value
        self._position_s = self._position_s if time_ns == NO_TIME else time_ns / 1e9
        rows = np.empty((height.value, stride), np.uint8)
        library.gst_buffer_extract(buffer, 0, rows.ctypes.data, size)
        return np.ascontiguousarray(rows[:, : 3 * width.value]).reshape(height.value, width.value, 3)

    def get(self, number: int) -> float:
        if number == POSITION_MS:
            return 1e3 * self._position_s
        if number == FPS:
            return self._rate
        length = c_int64()
        if number == FRAME_COUNT and self._library.gst_element_query_duration(
            self._pipeline, FORMAT_TIME, byref(length)
        ):
            return length.value / 1e9 * self._rate
        return -1.0

    def release(self) -> None:
        if self._pipeline:
            self._library.gst_element_set_state(self._pipeline, NULL)
            for one in (self._sink, self._bus, self._pipeline):
                self._library.gst_object_unref(one)
            self._pipeline = 0
