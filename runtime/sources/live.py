"""Cameras and network streams: the newest frame counts, and a lost camera comes back by itself."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from ...bundle.errors import DeviceError
from ...bundle.preprocess import ImageU8
from .frame import Frame

READER = "camera-"  # what the names of reading threads begin with
FIRST_FRAME_S = 10.0  # a CSI camera needs 2 to 3 s to start, an RTSP server up to a key frame's interval
STALL_S = 1.0  # without a frame: the connection is given up and opened anew
OPEN_S = 5.0  # that an attempt to open may take before another thread tries
RETRY_S = 0.25  # between attempts
CLOSE_S = 2.5  # for a reader to end its read: longer than every read timeout that we set
MOST_READERS = 4  # that may hang in a driver at the same time


class Capture(Protocol):
    """What OpenCV's VideoCapture offers and this file uses."""

    def isOpened(self) -> bool: ...  # noqa: N802 - OpenCV's name

    def read(self) -> tuple[bool, Any]: ...  # (H, W, 3) uint8 BGR

    def release(self) -> None: ...


class LiveSource:
    """The newest frame of a camera. One thread reads; when it hangs it is left behind and another one opens anew.

    open_capture: opens the device; called again after every loss. describe: why it cannot be opened, for the error.
    Raises DeviceError from the iterator when no first frame comes; later losses are waited out, and said on stderr.
    """

    live = True

    def __init__(self, name: str, open_capture: Callable[[], Capture], describe: Callable[[], str]) -> None:
        self.name, self._open_capture, self._describe = name, open_capture, describe
        self.total: int | None = None
        self.fps: float | None = None
        self.dropped = 0
        self.faults: list[str] = []
        self.losses = 0
        self._changed = threading.Condition()
        self._newest: tuple[ImageU8, float] | None = None  # and when its read returned, monotonic
        self._reader = 0  # number of the reader whose frames count
        self._alive = 0  # readers that have not ended
        self._opening_since: float | None = None  # monotonic; the counting reader is inside open_capture
        self._ever = False  # a frame has come
        self._refused = False  # an attempt to open came back without a device
        self._closed = False

    def __iter__(self) -> Iterator[Frame]:
        try:
            yield from self._frames()
        finally:  # however the iteration ends, no reader stays behind
            self.close()

    def _frames(self) -> Iterator[Frame]:
        index = 0
        started = last_frame = time.monotonic()
        lost = False
        self._start_reader()
        while not self._closed:
            newest = self._wait(STALL_S)
            now = time.monotonic()
            if newest is not None:
                image, taken_s = newest
                if lost:
                    print(f"{self.name}: back after {now - last_frame:.1f} s", file=sys.stderr)
                lost, last_frame = False, now
                yield Frame(index, f"{self.name}#{index}", image, taken_s=taken_s)
                index += 1
                last_frame = time.monotonic()
                continue
            if index == 0 and (self._refused or now - started > FIRST_FRAME_S):
                said = "".join(f" ({fault})" for fault in self.faults[:1])
                raise DeviceError(f"{self.name} gives no picture{said}. {self._describe()}")
            if index and not lost:
                lost = True
                self.losses += 1
                print(f"{self.name}: no frame for {STALL_S:.0f} s, reconnecting", file=sys.stderr)
            opening_since = self._opening_since
            if opening_since is None or now - opening_since > OPEN_S:
                self._start_reader()  # the old one hangs in a read, or in its driver

    def close(self) -> None:
        """Ends the iteration and waits for the readers; one that hangs in its driver is left behind after CLOSE_S."""
        with self._changed:
            self._closed = True
            self._reader += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._alive == 0, CLOSE_S)

    def _wait(self, timeout_s: float) -> tuple[ImageU8, float] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._closed or self._gave_up(), timeout_s)
            newest, self._newest = self._newest, None
            return newest

    def _gave_up(self) -> bool:
        """The device refused before it ever gave a frame: no need to wait for more."""
        return self._refused and not self._ever

    def _start_reader(self) -> None:
        with self._changed:
            if self._alive >= MOST_READERS:
                return
            self._reader += 1
            self._alive += 1
            number = self._reader
        threading.Thread(target=self._read, args=(number,), name=f"{READER}{number}", daemon=True).start()

    def _read(self, number: int) -> None:
        try:
            while self._counts(number):
                self._opening_since = time.monotonic()
                try:
                    capture = self._open_capture()
                except Exception as reason:  # of a driver or of OpenCV: a device that does not open
                    self._note(f"{type(reason).__name__}: {reason}")
                    self._opening_since = None
                    self._refuse()
                    time.sleep(RETRY_S)
                    continue
                if self._counts(number):
                    self._opening_since = None
                    if not capture.isOpened():
                        self._refuse()
                try:
                    while capture.isOpened() and self._counts(number):
                        try:
                            ok, image = capture.read()
                        except Exception as reason:
                            self._note(f"{type(reason).__name__}: {reason}")
                            break
                        if not ok:
                            break
                        self._put(number, image)
                finally:
                    capture.release()
                if self._counts(number):
                    time.sleep(RETRY_S)
        finally:
            with self._changed:
                self._alive -= 1
                self._changed.notify_all()

    def _note(self, reason: str) -> None:
        """Keeps the device's own words, once each, for the end of the run."""
        line = f"{self.name}: {reason.strip().splitlines()[-1]}"
        if line not in self.faults:
            self.faults.append(line)

    def _refuse(self) -> None:
        with self._changed:
            self._refused = True
            self._changed.notify_all()

    def _counts(self, number: int) -> bool:
        with self._changed:
            return number == self._reader and not self._closed

    def _put(self, number: int, image: ImageU8) -> None:
        taken_s = time.monotonic()
        with self._changed:
            if number != self._reader:
                return
            self._ever = True
            if self._newest is not None:
                self.dropped += 1
            self._newest = image, taken_s
            self._changed.notify_all()
