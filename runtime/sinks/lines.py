"""One line per frame on stdout: a table for people, JSON for machines."""

from __future__ import annotations

import json
import os
import sys

from tqdm import tqdm

from ...machine.terminal import terminal_safe
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
        label = terminal_safe(result.label)[:24]
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
    """One object per frame. Times are milliseconds; `sac_ms` is null for an exit."""

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
        }
        put(json.dumps(entries))

    def close(self) -> None:
        sys.stdout.flush()


def put(line: str) -> None:
    """To stdout, past a progress bar that may stand on the same terminal."""
    if sys.stderr.isatty():
        tqdm.write(line, file=sys.stdout)
    else:
        print(line, flush=True)  # a reader at the other end of a pipe waits for this frame, not for a full buffer
