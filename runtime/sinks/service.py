"""Reports a run to the service manager: the first answer, progress for the watchdog, the number of frames, the end."""

from __future__ import annotations

import time
from collections.abc import Callable

from ...machine.service_manager import ServiceManager
from .sink import Answer

STATUS_S = 5.0  # between two status texts
FEEDS = 4  # messages per watchdog interval
SILENT_S = 2.0  # without a frame until the status says so


class ServiceSink:
    """See `Sink`; the last one, so that READY=1 follows the first answer in all the others.

    The watchdog is fed by `write` and by `between_frames`, in the thread that computes: an engine or an output that hangs
    stops it. A camera that is lost does not: the loop waits, calls `between_frames` and opens the camera again.
    """

    def __init__(self, manager: ServiceManager, clock: Callable[[], float] = time.monotonic) -> None:
        self._manager, self._clock = manager, clock
        self._is_ready = False
        self._frames, self._exit_rate = 0, 0.0
        self._answered_s = self._told_s = self._fed_s = clock()

    def write(self, answer: Answer) -> None:
        self._frames += 1
        self._exit_rate = answer.running.exit_rate
        self._answered_s = self._clock()
        if not self._is_ready:
            self._is_ready = self._manager.send("READY=1", self._status())
        self.between_frames()

    def between_frames(self) -> None:
        now = self._clock()
        limit_s = self._manager.watchdog_s
        if limit_s is not None and now - self._fed_s >= limit_s / FEEDS:
            self._fed_s = now
            self._manager.send("WATCHDOG=1")
        if self._is_ready and now - self._told_s >= STATUS_S:
            self._told_s = now
            self._manager.send(self._status())

    def begin_reload(self) -> None:
        if self._is_ready:
            self._manager.send_reloading()

    def end_reload(self) -> None:
        if self._is_ready:
            self._manager.send("READY=1", self._status())

    def _status(self) -> str:
        silent_s = self._clock() - self._answered_s
        silence = f", no frame for {silent_s:.0f} s" if silent_s >= SILENT_S else ""
        return f"STATUS={self._frames} frames, {self._exit_rate:.1%} exits{silence}"

    def close(self) -> None:
        self._manager.send("STOPPING=1", self._status())
        self._manager.close()
