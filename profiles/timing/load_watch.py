"""The processor's other load during a window: other programs, a virtual machine's host, and waiting for a core."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from ...machine.activity import Activity

PERIOD_S = 0.2  # between readings of the run queue, at 20 microseconds each; the counters take a millisecond
SHORTEST_S = 0.5  # of a window: processor time is counted in steps of 10 ms
# Shares beyond which a window is disturbed. They are chosen so that smaller shares change a time by a few percent at most.
MOST_OTHERS, MOST_STOLEN, MOST_WAITED = 0.10, 0.02, 0.05


@dataclass(frozen=True)
class Load:
    """A window's load. Shares lie in [0, 1], those of `own`, `others` and `stolen` are of the cores' time.

    waited: of the window, by the thread of the engines that waited longest for a core; None where the kernel does not count
    it. running: tasks that ran or were ready to, this process's threads included.
    """

    duration_s: float
    cores: int
    own: float
    others: float
    stolen: float
    waited: float | None
    running_mean: float
    running_max: int
    switches_per_s: float
    forced_switches_per_s: float
    load_1min: float | None

    @property
    def disturbances(self) -> list[str]:
        """What disturbed the window, as text; empty without a disturbance, and for a window that is too short to detect one."""
        if self.duration_s < SHORTEST_S:
            return []
        found = []
        if self.others > MOST_OTHERS:
            found.append(f"other programs took {self.others:.0%} of the processor time")
        if self.stolen > MOST_STOLEN:
            found.append(f"the host of this virtual machine took {self.stolen:.0%} of the processor time")
        if self.waited is not None and self.waited > MOST_WAITED:
            found.append(f"the engines waited for a core {self.waited:.0%} of the time")
        if found:
            found[-1] += f" (run queue {self.running_mean:.1f} on {self.cores} cores)"
        return found

    @property
    def severity(self) -> float:
        """The measure for comparing two windows: the time that the engines may have lost."""
        return self.others + self.stolen + (self.waited or 0.0)


class LoadWatch:
    """Reads the counters on request, and the run queue every `PERIOD_S` in a thread, within a `with` block.

    read: gives the counters, None on a system without any. read_running: likewise the run queue.
    """

    def __init__(self, read: Callable[[], Activity | None], read_running: Callable[[], int | None]) -> None:
        self._read, self._read_running = read, read_running
        self._running: list[tuple[float, int]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def __enter__(self) -> LoadWatch:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(PERIOD_S):
            self.look()

    def look(self) -> None:
        """Adds a reading of the run queue."""
        running = self._read_running()
        if running is not None:
            self._running.append((time.perf_counter(), running))

    def take(self) -> Activity | None:
        """The counters now."""
        return self._read()

    def between(self, first: Activity | None, last: Activity | None) -> Load | None:
        """The load between two readings of the counters; None where there are none."""
        if first is None or last is None or last.time_s <= first.time_s:
            return None
        duration_s = last.time_s - first.time_s
        looks = [running for time_s, running in list(self._running) if first.time_s <= time_s <= last.time_s]
        inside = [first.running, *looks, last.running]
        of_cores = 1 / (duration_s * last.cores)
        own_s, busy_s = last.own_s - first.own_s, last.busy_s - first.busy_s
        waited_s = [spent - first.waited_s.get(thread, 0.0) for thread, spent in last.waited_s.items()]
        return Load(
            duration_s=duration_s,
            cores=last.cores,
            own=own_s * of_cores,
            others=max(busy_s - own_s, 0.0) * of_cores,
            stolen=(last.stolen_s - first.stolen_s) * of_cores,
            waited=max(waited_s) / duration_s if waited_s else None,
            running_mean=statistics.fmean(inside),
            running_max=max(inside),
            switches_per_s=(last.switches - first.switches) / duration_s,
            forced_switches_per_s=(last.forced_switches - first.forced_switches) / duration_s,
            load_1min=last.load_1min,
        )
