"""tegrastats as a power source: started, read line by line, terminated. Its --stop is not used, since it ends other users'
processes too.

Times are those of a line's arrival: tegrastats prints times in whole seconds, and prints less often than requested.
"""

from __future__ import annotations

import queue
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from .source import PERIOD_S, Clock, Kind, PowerError, PowerSource, Reading, Sensor, module_total
from .tegrastats_lines import LONGEST_LINE, read_line

START_S = 5.0  # for the first line, which comes after one interval
SILENT_S = 5.0  # without a line it is taken to hang
END_S = 2.0
KEPT_LINES = 10_000
# tegrastats sleeps for the interval and then works: at 100 ms real boards print 7 to 10 lines per second, some 170 ms apart.
# One late or lost line then leaves 340 ms. A chip's filter of 0.43 s, as on the only board where it is known, covers that.
LONGEST_GAP_S = 0.5


class TegrastatsPower(PowerSource):
    """See `PowerSource`. Raises PowerError when there is no tegrastats, or it prints no rails."""

    kind: Kind = "power"
    default_filter_s = 1.0  # it reads the INA3221, and does not report its filter
    longest_gap_s = LONGEST_GAP_S

    def __init__(self, command: str = "tegrastats", clock: Clock = time.perf_counter, start_s: float = START_S) -> None:
        self._clock, self._command = clock, command
        self._arrived: queue.Queue[tuple[float, str] | None] = queue.Queue()
        try:
            self._process = subprocess.Popen(  # noqa: S603  # an argument list, no shell
                [command, "--interval", str(round(1e3 * PERIOD_S))],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # "WARNING: not invoking as root" and the like
            )
        except OSError as reason:
            raise PowerError(f"{Path(command).name} does not start: {reason.strerror}") from None
        self.pids = (self._process.pid,)
        threading.Thread(target=self._take_lines, name="tegrastats", daemon=True).start()
        try:
            first = self._first_reading(start_s)
        except BaseException:
            self.close()
            raise
        self._last_s = first.time_s
        self.name = "tegrastats"
        self.sensors: Mapping[str, Sensor] = {rail: Sensor() for rail in first.rails}
        self.total_rails, self.scope = module_total(list(first.rails))

    def _take_lines(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stdout:
            while line := stdout.readline(LONGEST_LINE):
                if self._arrived.qsize() < KEPT_LINES:  # otherwise the reader has stopped
                    self._arrived.put((self._clock(), line.decode("utf-8", "replace")))
        self._arrived.put(None)

    def _first_reading(self, start_s: float) -> Reading:
        until, printed = time.monotonic() + start_s, 0
        while (left := until - time.monotonic()) > 0:
            try:
                item = self._arrived.get(timeout=left)
            except queue.Empty:
                break
            if item is None:
                raise PowerError(self._ended())
            printed += 1
            sample = read_line(item[1])
            if sample is not None and (rails := _rails(sample.rails_mw)):
                return Reading(item[0], rails)
            if sample is not None:
                raise PowerError("tegrastats prints no rails (JetPack 5 shows none to users: run as root)")
        raise PowerError(f"tegrastats printed {printed} lines in {start_s:g} s, none of which is a line of tegrastats")

    def read(self) -> list[Reading]:
        """The lines since the last call; see `PowerSource`."""
        readings: list[Reading] = []
        while not self._arrived.empty():
            item = self._arrived.get()
            if item is None:
                self._arrived.put(None)  # for the next call too
                if readings:
                    break
                raise PowerError(self._ended())
            sample = read_line(item[1])
            if sample is not None and sample.rails_mw:
                readings.append(Reading(item[0], _rails(sample.rails_mw)))
        if readings:
            self._last_s = readings[-1].time_s
        elif self._clock() - self._last_s > SILENT_S:
            raise PowerError(f"tegrastats has printed no rails for {SILENT_S:g} s")
        return readings

    def _ended(self) -> str:
        try:
            code = self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            return "tegrastats closed its output"
        return f"tegrastats ended by itself with exit code {code}"

    def close(self) -> None:
        """Ends our tegrastats and waits for it."""
        self._process.terminate()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _rails(printed: list[list[object]]) -> dict[str, float]:
    """mW by rail: the instantaneous number, never the running average behind it. Rails that are not connected are left out."""
    return {str(name): float(str(instant)) for name, instant, *_ in printed if name != "NC"}
