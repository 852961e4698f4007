"""Cameras and network streams: gives the newest frame, and opens a lost camera again.

More than 250 lines: the life of a reading thread, with its limits and faults in one place.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ...bundle.errors import DeviceError
from .capture import FPS, POSITION_MS, Capture, announced_frames, has_reached_end, is_cut_short
from .frame import WAIT_S, Frame, OpenOptions
from .rhythm import Rhythm

if TYPE_CHECKING:
    from ...bundle.preprocess import ImageU8

logger = logging.getLogger(__name__)

READER = "camera-"  # the prefix of the names of reading threads
LOOK_S = (
    1.0  # between looks at an attempt to open; one that outlasts its time by this hangs, and another starts beside it
)
ATTEMPT_S = 5.0  # the least time for an attempt, once the camera has given a frame
RETRY_S = 0.25  # between attempts of a reader
CLOSE_S = 2.5  # the time for a reader to end; one that takes longer is abandoned
MOST_READERS = 4  # that may hang in a driver at the same time


class LiveSource:
    """The newest frame of a camera. A thread reads; if it hangs, another one opens the camera beside it. The first reader that
    gives a frame is kept, and the others end. A loss is logged, and the camera is opened again. A stream that announces its
    length, such as a recording over RTSP, ends with it.

    open_capture: opens the device, within about so many seconds; called again after every loss. It raises TimeoutError when
    that takes longer, another OSError when there is no device for now. describe: the reason why it cannot be opened, for the
    error. Raises DeviceError from the iterator when no first frame comes.
    """

    live = True

    def __init__(
        self,
        name: str,
        open_capture: Callable[[float], Capture],
        describe: Callable[[], str],
        options: OpenOptions,
    ) -> None:
        self.name, self._open_capture, self._describe = name, open_capture, describe
        self._open_timeout_s = options.open_timeout_s
        self.total: int | None = None
        self.fps: float | None = None
        self.dropped = 0
        self.faults: list[str] = []
        self.losses = 0
        self._report_loss: Callable[[int, str], None] = lambda stream, message: None
        self._while_waiting: Callable[[], None] = lambda: None
        self._changed = threading.Condition()  # guards what follows
        self._newest: tuple[ImageU8, float] | None = None  # and when its read returned, monotonic
        self._rhythm = Rhythm(options.open_timeout_s, options.stall_timeout_s)
        self._started = 0  # readers, numbered from 1
        self._readers: set[int] = set()  # those that have not ended
        self._counting: int | None = None  # the reader whose frames count; None: the first that gives one
        self._trying: dict[
            int, tuple[float, float]
        ] = {}  # readers without a frame yet: since and until when, monotonic
        self._attempts = 0  # before the first frame
        self._took_s: float | None = None  # from an attempt's start to its first frame, when it last succeeded
        self._refused = False  # the only attempt to open came back without a device, before any frame
        self._has_ended = False  # a stream of known length is over
        self._closed = False

    def __iter__(self) -> Iterator[Frame]:
        try:
            yield from self._frames()
        finally:  # end the readers however the iteration ends
            self.close()

    def _frames(self) -> Iterator[Frame]:
        index, is_lost = 0, False
        silent_since = time.monotonic()  # the time that a consumer takes is not the camera's silence
        self._start_reader()
        while True:
            limit_s = self._rhythm.limit_s if index else self._open_timeout_s
            if is_lost or not index:  # an attempt runs: check it now and then
                limit_s = min(limit_s, LOOK_S)
            newest = self._wait(limit_s)
            now = time.monotonic()
            if newest is not None:
                if is_lost:
                    logger.warning("%s: back after %.1f s", self.name, now - silent_since)
                is_lost = False
                image, taken_s = newest
                yield Frame(index, f"{self.name}#{index}", image, taken_s=taken_s)
                index += 1
                silent_since = time.monotonic()
                continue
            if self._closed or self._has_ended:
                return
            if not index and (self._refused or now - silent_since >= self._open_timeout_s):
                raise DeviceError(self._no_picture())
            if index and not is_lost:
                is_lost = True
                self.losses += 1
                message = f"{self.name}: no frame for {limit_s:.3g} s ({self._rhythm.limit_source}), opening it again"
                logger.warning(message)
                self._report_loss(0, message)
                with self._changed:
                    self._counting = None
                    self._rhythm.pause()
            with self._changed:
                is_stuck = all(now >= until + LOOK_S for _, until in self._trying.values())
            if is_stuck:
                self._start_reader()

    def report_losses(self, report: Callable[[int, str], None]) -> None:
        self._report_loss = report

    def call_while_waiting(self, call: Callable[[], None]) -> None:
        self._while_waiting = call

    def _no_picture(self) -> str:
        """The error for a camera that never gave a frame: the reason why the wait ended, the device's message, and the
        cause."""
        limit = "" if self._refused else f" within {self._open_timeout_s:g} s (--open-timeout-s)"
        words = "".join(f" ({fault})" for fault in self.faults[:1])
        return f"{self.name} gives no picture{limit}{words}. {self._describe()}"

    def close(self) -> None:
        """Ends the iteration and waits for the readers; one that hangs in its driver is abandoned after CLOSE_S."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._readers, CLOSE_S)

    def _wait(self, timeout_s: float) -> tuple[ImageU8, float] | None:
        until_s = time.monotonic() + timeout_s
        while True:
            left_s = max(0.0, until_s - time.monotonic())
            with self._changed:
                is_over = self._changed.wait_for(
                    lambda: self._newest is not None or self._closed or self._has_ended or self._refused,
                    min(left_s, WAIT_S),
                )
                if is_over:
                    newest, self._newest = self._newest, None
                    return None if self._closed else newest
            self._while_waiting()
            if left_s <= WAIT_S:
                return None

    def _start_reader(self) -> None:
        with self._changed:
            if len(self._readers) >= MOST_READERS:
                return
            self._started += 1
            number = self._started
            self._readers.add(number)
            self._trying[number] = time.monotonic(), time.monotonic()  # until its attempt begins
        threading.Thread(target=self._read, args=(number,), name=f"{READER}{number}", daemon=True).start()

    def _begin_attempt(self, number: int) -> float:
        """Notes that a reader opens the camera; returns the seconds that it may take. Called with the lock held.

        A first attempt gets a third of the time for the first frame, the next one the rest: some servers set up a stream and
        never send it, and a new connection helps.
        """
        if self._took_s is not None:
            allowed_s = max(ATTEMPT_S, 3 * self._took_s)
        else:
            self._attempts += 1
            allowed_s = self._open_timeout_s * (1 if self._attempts == 1 else 2) / 3
        now = time.monotonic()
        self._trying[number] = now, now + allowed_s
        return allowed_s

    def _read(self, number: int) -> None:
        try:
            while self._may_open(number):
                capture = self._open(number)
                if capture is not None:
                    try:
                        self._read_frames(number, capture)
                    finally:
                        capture.release()
                if self._may_open(number):
                    time.sleep(RETRY_S)
        finally:
            with self._changed:
                self._readers.remove(number)
                self._trying.pop(number, None)
                self._changed.notify_all()

    def _open(self, number: int) -> Capture | None:
        with self._changed:
            allowed_s = self._begin_attempt(number)
            self._rhythm.pause()
        try:
            capture = self._open_capture(allowed_s)
        except TimeoutError:  # the next attempt may succeed
            return None
        except OSError:  # no device for now: `describe` gives the reason
            capture = None
        except Exception as reason:  # of a driver or of OpenCV
            self._note(f"{type(reason).__name__}: {reason}")
            capture = None
        if capture is not None and capture.isOpened():
            return capture
        if capture is not None:
            capture.release()
        with self._changed:
            # Another attempt beside this one may still succeed: some cameras refuse a second client.
            self._refused = self._counting is None and self._rhythm.is_new and list(self._trying) == [number]
            self._changed.notify_all()
        return None

    def _read_frames(self, number: int, capture: Capture) -> None:
        announced, given, position_ms = announced_frames(capture), 0, 0.0
        while self._may_read(number):
            try:
                ok, image = capture.read()
            except Exception as reason:
                self._note(f"{type(reason).__name__}: {reason}")
                break
            if not ok:
                break
            self._put(number, image)
            given += 1
            if announced is not None:
                position_ms = capture.get(POSITION_MS)  # a failed read resets it
        if announced is not None and given and self._may_read(number):
            if is_cut_short(given, announced) and not has_reached_end(given, position_ms, capture.get(FPS), announced):
                self._note(f"the stream ended after {given} of {announced} frames")
            with self._changed:
                self._has_ended = True
                self._changed.notify_all()

    def _note(self, reason: str) -> None:
        """Keeps the device's messages, once each, for the end of the run."""
        line = f"{self.name}: {reason.strip().splitlines()[-1]}"
        if line not in self.faults:
            self.faults.append(line)

    def _may_read(self, number: int) -> bool:
        with self._changed:
            return not self._closed and self._counting in (None, number)

    def _may_open(self, number: int) -> bool:
        """Opens the camera again after a lost connection, unless a newer reader is doing so."""
        with self._changed:
            if self._closed or self._has_ended:
                return False
            return number == (max(self._readers) if self._counting is None else self._counting)

    def _put(self, number: int, image: ImageU8) -> None:
        taken_s = time.monotonic()
        with self._changed:
            if self._counting not in (None, number):
                return
            self._counting = number
            if number in self._trying:
                self._took_s = taken_s - self._trying.pop(number)[0]
            self._rhythm.observe(taken_s)
            self.dropped += self._newest is not None
            self._newest = image, taken_s
            self._changed.notify_all()
