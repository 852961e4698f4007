"""The recording of a run: a thread draws, encodes and writes, so that a slow disk does not delay the answers."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Literal, NamedTuple

import cv2

from ...moments import unix_time_of
from ..overlay import draw_overlay
from ..sink import Answer
from .clips import Clips
from .disk import Disk
from .folder import RecordingFolder
from .picture import Picture
from .segments import Segments

logger = logging.getLogger(__name__)
JPEG_QUALITY = 80
WAITING = 16  # answers between the chain and the disk: at 1080p 100 MB
RETRY_S = 10.0  # between attempts to record again after the disk was full
CLOSE_S = 30.0  # for the last frames to reach the disk


class Moment(NamedTuple):
    """The same moment on a clock that never jumps, and in Unix time."""

    taken_s: float
    unix_s: float


class Recorder:
    """Writes the frames with their overlay into a folder, as segments and as clips around events. See `Sink`.

    live: a frame for which the disk is too slow is left out and counted; frames of files wait. fps: of files. A full or broken
    disk stops the recording with one message, not the run; it starts again when there is room. on_stop: called with the
    reason of each stop.
    """

    def __init__(
        self,
        folder: RecordingFolder,
        disk: Disk,
        segments: Segments | None,
        clips: Clips | None,
        *,
        live: bool,
        fps: float,
        on_stop: Callable[[str], None] = lambda message: None,
        monotonic_s: Callable[[], float] = time.monotonic,
        unix_s: Callable[[], float] = time.time,
    ) -> None:
        self._folder, self._disk, self._live, self._fps = folder, disk, live, fps
        self._segments, self._clips = segments, clips
        self._writers: list[Segments | Clips] = [one for one in (segments, clips) if one is not None]
        self._monotonic_s, self._unix_s = monotonic_s, unix_s
        self.on_stop = on_stop
        self.left_out = 0  # frames
        self._counts: dict[int, int] = {}  # frames of each stream of files
        self._last: dict[int, Moment] = {}  # of the frames that were given last, by stream
        self._again_s: float | None = None  # when to try again after a stop
        self._fault: BaseException | None = None
        self._answers: queue.Queue[tuple[Answer, Moment] | Literal["begin"] | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._run, name="recording", daemon=True)
        self._thread.start()

    def write(self, answer: Answer) -> None:
        if self._fault is not None:
            raise self._fault
        moment = self._last[answer.frame.stream] = self._moment(answer)
        try:
            self._answers.put((answer, moment), block=not self._live)
        except queue.Full:
            self.left_out += 1

    def keep_clip(self, stream: int) -> str | None:
        """The name of the file that will show what a camera showed around its last frame. Called by any thread.

        None where no clips are written, or the camera has given no frame.
        """
        if self._clips is None or stream not in self._last:
            return None
        name = self._clips.ask(stream, *self._last[stream])
        with suppress(queue.Full):  # then frames wait, and the clip begins with them
            self._answers.put_nowait("begin")
        return name

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
            while (item := self._answers.get()) is not None:
                if item == "begin":
                    self._on_disk(self._clips.begin)  # type: ignore[union-attr]  # asked for by keep_clip
                else:
                    self.record(*item)
            for writer in self._writers:
                try:
                    writer.close()
                except OSError as reason:
                    logger.error(
                        "--save %s: a recording has no index: %s", self._folder.path, reason.strerror or reason
                    )
            self._disk.close()
        except BaseException as fault:  # raised in the run
            self._fault = fault
            while self._answers.get() is not None:  # a writer that waits for a place goes on
                pass
        finally:
            self._folder.close()

    def record(self, answer: Answer, moment: Moment) -> None:
        """Writes one frame. Called by the thread."""
        if not self._on_disk(lambda: self._write(self._encoded(answer, moment))):
            self.left_out += 1

    def _write(self, picture: Picture) -> None:
        for writer in self._writers:
            writer.write(picture)

    def _on_disk(self, work: Callable[[], None]) -> bool:
        """Does what needs the disk, unless it is full; stops and starts the recording. Returns whether it was done."""
        try:
            if self._again_s is not None:
                if self._monotonic_s() < self._again_s:
                    return False
                self._again_s = self._monotonic_s() + RETRY_S
                self._folder.require_room(2)
            work()
        except OSError as reason:
            self._stop(reason)
            return False
        if self._again_s is not None:
            self._again_s = None
            logger.info("--save %s: there is room again, the recording goes on", self._folder.path)
        return True

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
        self._disk.forget()
        for writer in self._writers:
            writer.abandon()

    def _moment(self, answer: Answer) -> Moment:
        """When a frame was taken. Frames of files count in the rate of the file."""
        taken_s = answer.frame.taken_s
        if self._live:
            return Moment(taken_s, unix_time_of(taken_s, self._unix_s, self._monotonic_s))
        count = self._counts.get(answer.frame.stream, 0)
        self._counts[answer.frame.stream] = count + 1
        return Moment(count / self._fps, self._unix_s())

    def _encoded(self, answer: Answer, moment: Moment) -> Picture:
        canvas = draw_overlay(
            answer.frame.image, answer.region, answer.grid, answer.result, answer.threshold, answer.running
        )
        ok, content = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        assert ok
        return Picture(answer.frame.stream, *moment, canvas.shape[1::-1], content.tobytes())
