"""Several cameras or files as one source: each round has at most one frame of each, and the first place rotates."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from .frame import WAIT_S, Frame, Source

END_S = 5.0  # for a reader to end


class Several:
    """See `Source`. A thread per source holds its next frame: the newest one of a camera, the next one of a file.

    `rounds` gives the frames that are ready, so a slow camera does not delay the others. If a source fails, the others go on
    and the failure is in `faults`.
    """

    def __init__(self, sources: Sequence[Source], names: Sequence[str]) -> None:
        self._sources, self._names = sources, names
        self.live = any(source.live for source in sources)
        totals = [source.total for source in sources]
        self.total = None if None in totals else sum(total for total in totals if total is not None)
        self.fps: float | None = None
        self._changed = threading.Condition()
        self._waiting: dict[int, Frame] = {}
        self._overtaken = 0  # frames of cameras that a newer one replaced
        self._running = len(sources)
        self._failed: list[BaseException] = []
        self._own_faults: list[str] = []
        self._closed = False
        self._report_loss: Callable[[int, str], None] = lambda stream, message: None
        self._while_waiting: Callable[[], None] = lambda: None
        self._threads = [
            threading.Thread(target=self._read, args=(stream,), name=f"stream-{stream}", daemon=True)
            for stream in range(len(sources))
        ]

    @property
    def dropped(self) -> int:
        return sum(source.dropped for source in self._sources) + self._overtaken

    @property
    def faults(self) -> list[str]:
        told = [
            f"{name}: {fault}" for name, one in zip(self._names, self._sources, strict=True) for fault in one.faults
        ]
        return told + self._own_faults

    def __iter__(self) -> Iterator[Frame]:
        return itertools.chain.from_iterable(self.rounds())

    def rounds(self) -> Iterator[list[Frame]]:
        """Yields lists with a frame of each stream that has one; the first place rotates. Ends with the last source.

        If no source gave a frame, the error of the first one is raised.
        """
        for thread in self._threads:
            thread.start()
        first, index = 0, 0
        while True:
            with self._changed:
                is_over = self._changed.wait_for(lambda: self._waiting or not self._running, WAIT_S)
            if not is_over:
                self._while_waiting()
                continue
            with self._changed:
                if not self._waiting:
                    break
                order = sorted(self._waiting, key=lambda stream: (stream - first) % len(self._sources))
                frames = [self._waiting.pop(stream) for stream in order]
                self._changed.notify_all()
            first = (first + 1) % len(self._sources)
            numbered = [self._handed_over(frame, index + place) for place, frame in enumerate(frames)]
            index += len(frames)
            yield numbered
        if not index and self._failed:
            raise self._failed[0]

    def _handed_over(self, frame: Frame, index: int) -> Frame:
        """The frame with its number in the run. The age of a file's frame counts from now, since waiting does not age it."""
        taken_s = frame.taken_s if self._sources[frame.stream].live else time.monotonic()
        return replace(frame, index=index, taken_s=taken_s)

    def _read(self, stream: int) -> None:
        live = self._sources[stream].live
        try:
            for frame in self._sources[stream]:
                with self._changed:
                    while stream in self._waiting and not live and not self._closed:
                        self._changed.wait()
                    self._overtaken += stream in self._waiting
                    if self._closed:
                        return
                    self._waiting[stream] = replace(frame, name=f"{stream}: {frame.name}", stream=stream)
                    self._changed.notify_all()
        except BaseException as fault:  # reported at the end; raised when no source gave a frame
            self._failed.append(fault)
            self._own_faults.append(f"{self._names[stream]}: {fault}")
            self._report_loss(stream, self._own_faults[-1])
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def report_losses(self, report: Callable[[int, str], None]) -> None:
        self._report_loss = report
        for stream, source in enumerate(self._sources):
            source.report_losses(partial(_of_stream, report, stream))

    def call_while_waiting(self, call: Callable[[], None]) -> None:
        self._while_waiting = call

    def close(self) -> None:
        """Ends every source and its reader."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for source in self._sources:
            source.close()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(END_S)


def _of_stream(report: Callable[[int, str], None], stream: int, _: int, message: str) -> None:
    report(stream, message)
