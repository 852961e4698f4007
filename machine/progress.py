"""Progress of long work: a bar on a terminal, elsewhere a line every 10 seconds."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, TypeVar

from tqdm import tqdm

logger = logging.getLogger(__name__)
LINE_PERIOD_S = 10.0
T = TypeVar("T")


class Progress:
    """Counts steps of `what`; a context manager.

    total: the number of steps, None where it is unknown. On a terminal a bar shows them and vanishes at the end;
    elsewhere `logger` gets a line every LINE_PERIOD_S. is_shown: False where there is nothing to wait for, as for a camera.
    """

    def __init__(
        self,
        what: str,
        total: int | None = None,
        unit: str = "step",
        *,
        is_shown: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total, self.done = total, 0
        self._what, self._unit, self._clock = what, unit, clock
        self._has_bar = is_shown and sys.stderr.isatty()
        self._has_lines = is_shown and not self._has_bar
        self._bar: tqdm[Any] = tqdm(total=total, desc=what, unit=unit, leave=False, disable=not self._has_bar)
        self._began = self._last_line = clock()

    def step(self, count: int = 1, note: str = "") -> None:
        """Adds `count` steps. note: what the bar or the line shows beside the numbers."""
        self.reach(self.done + count, note=note)

    def reach(self, done: int, total: int | None = None, note: str = "") -> None:
        """Sets the number of steps that are done. total: replaces the earlier one. Fewer than before begin another phase of the
        work, whose rate counts from now."""
        if total is not None:
            self.total = self._bar.total = total
        if done < self.done:
            self._began, self.done = self._clock(), 0
            self._bar.reset(self.total)
        self._bar.update(done - self.done)
        self.done = done
        if note and self._has_bar:
            self._bar.set_postfix_str(note, refresh=False)
        now = self._clock()
        if self._has_lines and now - self._last_line >= LINE_PERIOD_S:
            self._last_line = now
            logger.info("%s", self.line(now - self._began, note))

    def line(self, elapsed_s: float, note: str = "") -> str:
        """The text of a line: steps done, their rate, the time left."""
        of = f" of {self.total}" if self.total else ""
        per_s = self.done / elapsed_s if elapsed_s > 0 else 0.0
        parts = [f"{self._what}: {self.done}{of} {self._unit}s", f"{per_s:.3g} per second"]
        if self.total and per_s:
            parts.append(f"{tqdm.format_interval(max(self.total - self.done, 0) / per_s)} left")
        return ", ".join([*parts, *([note] if note else [])])

    def close(self) -> None:
        self._bar.close()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def tracked(items: Iterable[T], what: str, total: int | None = None, unit: str = "step") -> Iterator[T]:
    """Yields the items and shows the progress."""
    with Progress(what, total, unit) as progress:
        for item in items:
            yield item
            progress.step()
