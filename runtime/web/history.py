"""What the chain did, second by second: the charts of the page, and the distribution of EE's confidence."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from ..sinks.sink import Answer

SECONDS = 600  # that a page shows
CONFIDENCES = 1000  # of the last frames
BINS = 50  # of the confidence, in [0, 1]


@dataclass
class Second:
    """What was answered since the last row. Milliseconds."""

    exits: int = 0
    frames: int = 0
    exit_ms: list[float] = field(default_factory=list)
    full_ms: list[float] = field(default_factory=list)
    age_ms: list[float] = field(default_factory=list)


class History:
    """Rows of numbers, one for each second; None where there was nothing to measure.

    The chain adds answers, the server closes a row once per second: both under a lock that is held for microseconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._second, self._since_s = Second(), clock()
        self._dropped = self._dropped_before = 0
        self._confidences: deque[int] = deque(maxlen=CONFIDENCES)  # the bin of each
        self.rows: deque[dict[str, float | None]] = deque(maxlen=SECONDS)

    def add(self, answer: Answer) -> None:
        """Counts an answer. Called by the chain."""
        result = answer.result
        spent_ms = answer.prepare_ms + result.ee_ms + (result.sac_ms or 0.0)
        with self._lock:
            second = self._second
            second.frames += 1
            second.exits += result.exits_early and not result.degraded
            (second.full_ms if result.sac_ms is not None else second.exit_ms).append(spent_ms)
            second.age_ms.append(answer.age_ms)
            self._dropped = answer.running.dropped
            self._confidences.append(min(int(result.confidence * BINS), BINS - 1))

    def close_row(self, unix_s: float, sensors: Mapping[str, float]) -> dict[str, float | None]:
        """Ends the running second. sensors: numbers to keep beside it, by name."""
        with self._lock:
            second, self._second = self._second, Second()
            now = self._clock()
            duration_s, self._since_s = now - self._since_s, now
            dropped, self._dropped_before = self._dropped - self._dropped_before, self._dropped
        row: dict[str, float | None] = {
            "time": round(unix_s, 1),
            "fps": round(second.frames / duration_s, 2) if duration_s > 0 else None,
            "exit_rate": round(second.exits / second.frames, 4) if second.frames else None,
            "exit_ms": _median(second.exit_ms),
            "full_ms": _median(second.full_ms),
            "age_ms": _median(second.age_ms),
            "dropped": dropped,
            **{name: round(value, 2) for name, value in sensors.items()},
        }
        self.rows.append(row)
        return row

    def confidences(self) -> list[int]:
        """How many of the last frames had a confidence in each of BINS equal parts of [0, 1]."""
        with self._lock:
            found = list(self._confidences)
        counts = [0] * BINS
        for place in found:
            counts[place] += 1
        return counts

    def columns(self) -> dict[str, list[Any]]:
        """The rows by column, the oldest first."""
        rows = list(self.rows)
        names = list(dict.fromkeys(name for row in rows for name in row))
        return {name: [row.get(name) for row in rows] for name in names}


def _median(values: list[float]) -> float | None:
    return round(median(values), 3) if values else None
