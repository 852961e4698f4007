"""The page and the text of a run: power and frames over one time axis, energy per frame and by path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.moments import utc_text
from ...runtime.percentiles import percentile
from ..power.energy import TOTAL
from ..reports.amounts import amount_text, is_measurable
from ..reports.figures import Bar, bars
from ..reports.page import write_page
from ..reports.svg import PHONE
from .recorded import JUMP_S, Recorded
from .summary import power_lines, summarise_power
from .timeline import draw_timeline

CAPTION = (
    "Power (the mean, and the range of the readings as an area), time per frame of each path (the median, and dotted the 95th"
    " percentile), frames per second and temperature over one time axis"
)
NO_POWER = (
    "power: not in this file: sacvit-run --power auto --power-log FILE records it, or give a log of tegrastats that was taken"
    " beside the run"
)


def run_lines(run: Recorded) -> list[str]:
    """The run as text."""
    return [*_frame_lines(run), *_power_lines(run), *run.notes]


def write_run_page(run: Recorded, out: Path) -> None:
    began = utc_text(run.frames.answered_s[0] + run.frames.offset_s[0])
    content = {
        "title": f"Power and frames: {run.path.name}",
        "about": run.about or [("Date", f"{began[:16].replace('T', ' ')} UTC")],
        "summary": [*_frame_lines(run), *_power_lines(run)],
        "notes": run.notes,
        "timeline": (CAPTION, draw_timeline(run)),
        "energies": _energies(run),
    }
    write_page(out, "run", content)


def _frame_lines(run: Recorded) -> list[str]:
    frames = run.frames
    count, full = len(frames.ms), sum(frames.is_full)
    duration_s = frames.answered_s[-1] - frames.answered_s[0]
    begin, end = (utc_text(frames.answered_s[place] + frames.offset_s[place]) for place in (0, -1))
    rate = f", {(count - 1) / duration_s:.4g} per second" if duration_s > 0 else ""
    lines = [f"{count} frames from {begin} to {end}{rate}; {1 - full / count:.1%} exits"]
    ms, is_full = np.array(frames.ms), np.frombuffer(bytes(frames.is_full), np.uint8) > 0
    for name, chosen in (("exit", ~is_full), ("full", is_full)):
        values = np.sort(ms[chosen]).tolist()
        if values:
            shown = ", ".join(
                f"{label} {percentile(values, at):.2f}" for label, at in (("median", 50), ("p95", 95), ("p99", 99))
            )
            lines.append(f"{name:<6}{len(values):>9} frames: ms {shown}")
    if frames.jump_s > JUMP_S:
        lines.append(
            f"the system's clock jumped by {frames.jump_s:.1f} s; frames and readings are joined by the monotonic clock"
        )
    return lines


def _power_lines(run: Recorded) -> list[str]:
    if run.windows is not None:
        return power_lines(summarise_power(run.windows))
    if not run.power_w:
        return [NO_POWER]
    rails = [f"{rail} {sum(watts) / len(watts):.3f}" for rail, (_, watts) in run.power_w.items()]
    return [f"W, means of the windows in the lines: {', '.join(rails)}"]


def _energies(run: Recorded) -> list[tuple[str, str]]:
    if run.windows is None:
        return []
    power: dict[str, Any] = summarise_power(run.windows)
    found = []
    by_path, by_rail = power["mj_by_path"] or {}, power["mj_per_frame"] or {}
    shown = {rail: one for rail, one in by_rail.items() if [rail] != power["total_rails"] or TOTAL not in by_rail}
    for caption, table in (
        ("Energy per frame, idle power included", shown),
        ("Energy of one frame on each path, idle power included, by regression over the windows", by_path),
    ):
        drawn = [
            Bar(name, one["value"] if is_measurable(one) else None, one["plus_minus"], amount_text(one, "mJ"))
            for name, one in table.items()
        ]
        if drawn:
            found.append((caption, bars(caption, drawn, "mJ", sizes=PHONE)))
    return found
