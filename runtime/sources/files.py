"""Pictures and videos from disk: none is lost, and a reader thread decodes ahead."""

from __future__ import annotations

import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2

from ...bundle.errors import ImageError
from ...images.decode import read_picture
from .frame import Frame

DECODED_AHEAD = 8  # frames: at 1080p 50 MB


class ReadAhead(ABC):
    """Iterates over `frames()` in a thread, a few frames ahead of the consumer."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Frame | BaseException | None] = queue.Queue(DECODED_AHEAD)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, name="decoder", daemon=True)
        self.dropped = 0
        self.live = False
        self.faults: list[str] = []

    @abstractmethod
    def frames(self) -> Iterator[Frame]:
        """The frames, decoded as they are asked for. Runs in the reader's thread."""

    def __iter__(self) -> Iterator[Frame]:
        self._thread.start()
        while True:
            item = self._queue.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield replace(item, taken_s=time.monotonic())

    def close(self) -> None:
        """Ends the reader, which at most decodes one more frame."""
        self._stopped.set()
        while self._thread.is_alive():  # the thread may wait for a place in the queue
            while not self._queue.empty():
                self._queue.get_nowait()
            self._thread.join(0.05)

    def _read(self) -> None:
        try:
            for frame in self.frames():
                if self._stopped.is_set():
                    return
                self._queue.put(frame)
            self._queue.put(None)
        except BaseException as fault:  # carried to the consumer, where it is raised
            self._queue.put(fault)


class PictureFiles(ReadAhead):
    """Pictures in the order given. Unreadable ones are skipped, counted and named in `faults`."""

    def __init__(self, paths: list[Path], loop: bool = False) -> None:
        super().__init__()
        self.paths, self.loop = paths, loop
        self.total = None if loop else len(paths)
        self.fps: float | None = None

    def frames(self) -> Iterator[Frame]:
        index = 0
        while True:
            given = 0
            for path in self.paths:
                try:
                    image = read_picture(path)
                except ImageError as fault:
                    if str(fault) not in self.faults:
                        self.faults.append(str(fault))
                    continue
                yield Frame(index, path.name, image)
                index, given = index + 1, given + 1
            if not self.loop or not given:
                return


class VideoFile(ReadAhead):
    """A video file, every frame of it. A file that ends before its own count says so in `faults`."""

    MAY_MISS = 0.02  # share of the frames: containers round their own count

    def __init__(self, path: Path, loop: bool = False) -> None:
        super().__init__()
        self.path, self.loop = path, loop
        capture = self._open()
        count, rate = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
        capture.release()
        self.announced = int(count) if 0 < count < 1e9 else None
        self.total = None if loop else self.announced
        self.fps: float | None = rate if 0 < rate < 1000 else None

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self.path))
        if not capture.isOpened():
            capture.release()
            raise ImageError(f"{self.path} is no video that this OpenCV can decode, or was cut short before its index")
        return capture

    def frames(self) -> Iterator[Frame]:
        index = 0
        while True:
            capture = self._open()
            given = 0
            try:
                while True:
                    ok, image = capture.read()
                    if not ok:
                        break
                    yield Frame(index, f"{self.path.name}#{given}", image)  # type: ignore[arg-type]
                    index, given = index + 1, given + 1
            finally:
                capture.release()
            if self.announced is not None and given < self.announced - max(1, self.MAY_MISS * self.announced):
                fault = f"{self.path} was cut short: {given} of {self.announced} frames could be decoded"
                if fault not in self.faults:
                    self.faults.append(fault)
            if not self.loop or not given:
                return
