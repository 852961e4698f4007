"""The recording of a run: a thread draws, encodes and writes, so that a slow disk does not delay the answers."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import cv2

from ..overlay import draw_overlay
from ..sink import Answer
from .folder import RecordingFolder
from .segments import Picture, Segments

logger = logging.getLogger(__name__)
JPEG_QUALITY = 80
WAITING = 16  # answers between the chain and the disk: at 1080p 100 MB
RETRY_S = 10.0  # between attempts to record again after the disk was full
CLOSE_S = 30.0  # for the last frames to reach the disk


class Recorder:
    """Writes the frames with their overlay as segments into a folder. See `Sink`.

    live: a frame for which the disk is too slow is left out and counted; frames of files wait. fps: of files. A full or broken
    disk stops the recording with one message, not the run; it starts again when there is room. on_stop: called with the
    reason of each stop.
    """

    def __init__(
        self,
        folder: RecordingFolder,
        segments: Segments,
        *,
        live: bool,
        fps: float,
        on_stop: Callable[[str], None] = lambda message: None,
        monotonic_s: Callable[[], float] = time.monotonic,
        unix_s: Callable[[], float] = time.time,
    ) -> None:
        self._folder, self._segments, self._live, self._fps = folder, segments, live, fps
        self._monotonic_s, self._unix_s = monotonic_s, unix_s
        self.on_stop = on_stop
        self.left_out = 0  # frames
        self._taken: dict[int, int] = {}  # frames of each stream of files
        self._again_s: float | None = None  # when to try again after a stop
        self._fault: BaseException | None = None
        self._answers: queue.Queue[Answer | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._run, name="recording", daemon=True)
        self._thread.start()

    def write(self, answer: Answer) -> None:
        if self._fault is not None:
            raise self._fault
        try:
            self._answers.put(answer, block=not self._live)
        except queue.Full:
            self.left_out += 1

    def close(self) -> None:
        """Returns when the last frame is in its segment and all segments are ended."""
        with suppress(queue.Full):
            self._answers.put(None, timeout=CLOSE_S)
            self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            logger.error("--save %s: the disk did not take the last frames within %g s", self._folder.path, CLOSE_S)
        if self.left_out:
            logger.warning(
                "--save %s: %d frames are not in the recording: the disk was full or too slow",
                self._folder.path,
                self.left_out,
            )
        if self._fault is not None:
            raise self._fault

    def _run(self) -> None:
        try:
            while (answer := self._answers.get()) is not None:
                self.record(answer)
            try:
                self._segments.close()
            except OSError as reason:
                logger.error(
                    "--save %s: the last segment has no index: %s", self._folder.path, reason.strerror or reason
                )
        except BaseException as fault:  # raised in the run
            self._fault = fault
            while self._answers.get() is not None:  # a writer that waits for a place goes on
                pass
        finally:
            self._folder.close()

    def record(self, answer: Answer) -> None:
        """Writes one frame, or stops or starts the recording. Called by the thread."""
        try:
            if self._again_s is not None:
                if self._monotonic_s() < self._again_s:
                    self.left_out += 1
                    return
                self._again_s = self._monotonic_s() + RETRY_S
                self._folder.require_room(2)
            self._segments.write(self._encoded(answer))
        except OSError as reason:
            self.left_out += 1
            self._stop(reason)
            return
        if self._again_s is not None:
            self._again_s = None
            logger.info("--save %s: there is room again, the recording goes on", self._folder.path)

    def _stop(self, reason: OSError) -> None:
        if self._again_s is None:
            logger.error(
                "--save %s: the recording has stopped: %s. Frames are classified as before. It goes on when there is room;"
                " --keep-gib removes the oldest segments in time",
                self._folder.path,
                reason.strerror or reason,
            )
            self.on_stop(str(reason.strerror or reason))
        self._again_s = self._monotonic_s() + RETRY_S
        self._segments.abandon()

    def _encoded(self, answer: Answer) -> Picture:
        canvas = draw_overlay(
            answer.frame.image, answer.region, answer.grid, answer.result, answer.threshold, answer.running
        )
        ok, content = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        assert ok
        stream, now_s, unix_s = answer.frame.stream, self._monotonic_s(), self._unix_s()
        taken_s = answer.frame.taken_s
        if not self._live:
            taken_s = self._taken.get(stream, 0) / self._fps
            self._taken[stream] = self._taken.get(stream, 0) + 1
            now_s = taken_s
        return Picture(stream, taken_s, unix_s - (now_s - taken_s), canvas.shape[1::-1], content.tobytes())
