"""One line per frame on stdout: a table for people, JSON for machines."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from tqdm import tqdm

from ...machine.terminal import terminal_safe
from ..moments import unix_time_of, utc_text
from .sink import Answer

COLUMNS = f"{'frame':>6}  {'answer':24} {'prob':>5}  {'by':3}  {'EE conf':>7}  {'EE ms':>7}  {'SAC ms':>7}  source"


class Table:
    """Aligned columns; the stage in colour on a terminal (unless NO_COLOR is set)."""

    def __init__(self) -> None:
        self.coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        self._headed = False

    def write(self, answer: Answer) -> None:
        if not self._headed:
            put(COLUMNS)
            self._headed = True
        result = answer.result
        label = terminal_safe(result.text)[:24]
        stage = f"{result.stage:3}"
        if self.coloured:
            stage = f"\x1b[{32 if result.exits_early else 33}m{stage}\x1b[0m"
        sac = "-" if result.sac_ms is None else f"{result.sac_ms:.2f}"
        put(
            f"{answer.frame.index:6d}  {label:24} {result.probability:5.2f}  {stage}  {result.confidence:7.2f}"
            f"  {result.ee_ms:7.2f}  {sac:>7}  {terminal_safe(answer.frame.name)}"
        )

    def close(self) -> None:
        sys.stdout.flush()


class JsonLines:
    """One object per frame. Durations are milliseconds; `sac_ms` is null for an exit.

    `monotonic_s` is when the frame was taken, by time.monotonic(), and `time` the same in UTC: the system's clock may jump,
    the other does not. power: gives the entry `power` of the next line. Of a dense task, `cells` has the class of each cell,
    row by row in runs: class, count, class, count and so on.
    """

    def __init__(self, power: Callable[[], Mapping[str, Any] | None] = lambda: None) -> None:
        self._power = power
        self._written: Mapping[str, Any] | None = None  # the entry whose text is `_text`: it stays for many lines
        self._text = "null"

    def write(self, answer: Answer) -> None:
        result = answer.result
        entries = {
            "frame": answer.frame.index,
            "name": answer.frame.name,
            "label": result.label,
            "index": result.index,
            "probability": round(result.probability, 6),
            "stage": result.stage,
            "confidence": round(result.confidence, 6),
            "target_blocks": list(result.target_blocks),
            "prepare_ms": round(answer.prepare_ms, 3),
            "ee_ms": round(result.ee_ms, 3),
            "sac_ms": None if result.sac_ms is None else round(result.sac_ms, 3),
            "age_ms": round(answer.age_ms, 3),
            "degraded": result.degraded,
            "agreed": result.agreed,
            "stream": answer.frame.stream,
            "dropped": answer.running.dropped,
            "monotonic_s": round(answer.frame.taken_s, 6),
            "time": utc_text(unix_time_of(answer.frame.taken_s)),
        }
        if result.cells is not None:
            entries["cells"] = {"side": len(result.cells.classes), "runs": result.cells.runs()}
        power = self._power()
        if power is not self._written:
            self._written, self._text = power, json.dumps(power)
        put(f'{json.dumps(entries)[:-1]}, "power": {self._text}}}')

    def close(self) -> None:
        sys.stdout.flush()


def put(line: str) -> None:
    """To stdout, past a progress bar that may stand on the same terminal."""
    if sys.stderr.isatty():
        tqdm.write(line, file=sys.stdout)
    else:
        print(line, flush=True)  # a reader at the other end of a pipe waits for this frame, not for a full buffer
