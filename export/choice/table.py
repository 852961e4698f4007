"""The candidates as a table for a terminal, which is drawn again while they are tried."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from ...machine.terminal import terminal_safe
from ...runtime.engines.choice import CHOICE_NAME, Candidate, EngineChoice

Show = Callable[[list[Candidate], str], None]  # the candidates so far, and what is being done


def table_lines(candidates: list[Candidate], choice: EngineChoice | None = None) -> list[str]:
    """One line for each candidate below a header; refused ones last. Times are of the chain, per image."""
    sizes = list(dict.fromkeys(size for candidate in candidates for size in candidate.timings))
    header = ["engine", "logit error"]
    for size in sizes:
        header += [f"ms, batch {size}", "spread", "speed"]
    rows = [[*header, *(["start s", "MiB"] if choice else [])]]
    for candidate in candidates:
        row = [candidate.name, "" if candidate.logit_error is None else f"{candidate.logit_error:.4f}"]
        if candidate.refused is not None:
            rows.append([*row, "refused"])
            continue
        for size in sizes:
            timing = candidate.timings.get(size)
            row += (
                ["", "", ""]
                if timing is None
                else [
                    f"{timing.chain_ms:.2f}",
                    "{:.2f}-{:.2f}".format(*timing.quartiles_ms),
                    f"{timing.speedup:.2f}x",
                ]
            )
        if choice is not None and candidate.start_s is not None:
            row += [f"{candidate.start_s:.2f}", f"{candidate.peak_mib:.0f}"]
            row += ["<- chosen"] if candidate.name == choice.choice else []
        rows.append(row)
    widths = [max((len(row[place]) for row in rows if place < len(row)), default=0) for place in range(len(rows[0]))]
    return [
        terminal_safe(
            "  ".join(
                text.ljust(width) if place == 0 else text.rjust(width)
                for place, (text, width) in enumerate(zip(row, [*widths, 0], strict=False))
            ).rstrip()
        )
        for row in rows
    ]


def reason_lines(choice: EngineChoice) -> list[str]:
    """What was chosen and why, what was refused, and what does not run here."""
    lines = [f"chosen: {choice.choice}: {choice.reason}"]
    lines += [f"refused: {one.name}: {one.refused}" for one in choice.candidates if one.refused is not None]
    if choice.absent:
        lines.append(f"without: {', '.join(choice.absent)}; {CHOICE_NAME} has the reasons")
    share = (
        f"speed: times as fast as {choice.reference}; the chain at an exit rate of {choice.exit_rate:.0%}, that of FP32 on"
        f" {choice.images} reference images"
    )
    return [terminal_safe(line) for line in [share, *lines]]


class Screen:
    """The table on a terminal, drawn again at every step, with what is being done below. Elsewhere it prints nothing."""

    def __init__(self) -> None:
        self._is_shown = sys.stderr.isatty()
        self._lines: list[tqdm[Any]] = []

    def show(self, candidates: list[Candidate], doing: str) -> None:
        if not self._is_shown:
            return
        lines = [*(table_lines(candidates) if candidates else []), terminal_safe(doing)]
        while len(self._lines) < len(lines):
            self._lines.append(
                tqdm(total=0, bar_format="{desc}", position=len(self._lines), leave=False, dynamic_ncols=True)
            )
        for place, line in enumerate(self._lines):
            line.set_description_str(lines[place] if place < len(lines) else "")

    def close(self) -> None:
        for line in reversed(self._lines):
            line.close()

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
