"""Frames from files: none is lost, and a reader thread decodes ahead."""

from __future__ import annotations

import queue
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from .frame import WAIT_S, Frame
from .live import CLOSE_S, READER

DECODED_AHEAD = 8  # frames: at 1080p 50 MB


class ReadAhead(ABC):
    """Iterates over `frames()` in a thread, a few frames ahead of the consumer."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Frame | BaseException | None] = queue.Queue(DECODED_AHEAD)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, name=f"{READER}file", daemon=True)
        self.dropped = 0
        self.live = False
        self.faults: list[str] = []
        self._while_waiting: Callable[[], None] = lambda: None

    @abstractmethod
    def frames(self) -> Iterator[Frame]:
        """The frames, decoded as they are asked for. Runs in the reader's thread."""

    def __iter__(self) -> Iterator[Frame]:
        # A thread inside a decoder would abort the program when Python ends, also where this source was not closed.
        weakref.finalize(self, end_reader, self._thread, self._stopped, self._queue)
        self._thread.start()
        try:
            while True:
                try:
                    item = self._queue.get(timeout=WAIT_S)
                except queue.Empty:
                    self._while_waiting()
                    continue
                if item is None:
                    return
                if isinstance(item, BaseException):
                    raise item
                yield replace(item, taken_s=time.monotonic())
        finally:  # end the reader however the iteration ends
            self.close()

    def report_losses(self, report: Callable[[int, str], None]) -> None:  # noqa: B027  # a file is never lost for a while
        """See `Source`."""

    def call_while_waiting(self, call: Callable[[], None]) -> None:
        """See `Source`."""
        self._while_waiting = call

    def close(self) -> None:
        """Ends the reader, which at most decodes one more frame; one that hangs on a broken disk is abandoned."""
        end_reader(self._thread, self._stopped, self._queue)

    def _read(self) -> None:
        try:
            for frame in self.frames():
                if self._stopped.is_set():
                    return
                self._queue.put(frame)
            self._queue.put(None)
        except BaseException as fault:  # raised again in the consumer
            self._queue.put(fault)


def end_reader(thread: threading.Thread, stopped: threading.Event, decoded: queue.Queue[Any]) -> None:
    stopped.set()
    until = time.monotonic() + CLOSE_S
    while thread.is_alive() and time.monotonic() < until:  # the thread may wait for a place in the queue
        while not decoded.empty():
            decoded.get_nowait()
        thread.join(0.05)
