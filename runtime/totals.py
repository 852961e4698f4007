"""Numbers over a run: exits, drops, and latencies by stage and by path."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from .chain.result import Result
from .percentiles import summarise

KEPT_FRAMES = 100_000  # an hour at 30 frames per second


class Recent(Collection[float]):
    """The last KEPT_FRAMES numbers that were added, in no order. All their memory, 0.8 MB, is taken at the start."""

    def __init__(self) -> None:
        self._values, self._added = array("d", bytes(8 * KEPT_FRAMES)), 0

    def append(self, value: float) -> None:
        self._values[self._added % KEPT_FRAMES] = value
        self._added += 1

    def __len__(self) -> int:
        return min(self._added, KEPT_FRAMES)

    def __iter__(self) -> Iterator[float]:
        return iter(self._values[: len(self)])

    def __contains__(self, value: object) -> bool:
        return value in self._values[: len(self)]


@dataclass
class RunStatistics:
    """Collects a run frame by frame. A path is all that a frame went through: preprocessing, EE and, for a survivor, SAC.

    Frames and exits are counted over the whole run; latencies are of the last KEPT_FRAMES, so that memory stays bounded.
    """

    prepare_ms: Recent = field(default_factory=Recent)
    ee_ms: Recent = field(default_factory=Recent)
    sac_ms: Recent = field(default_factory=Recent)
    exit_ms: Recent = field(default_factory=Recent)
    full_ms: Recent = field(default_factory=Recent)
    age_ms: Recent = field(default_factory=Recent)
    frames: int = 0
    exits: int = 0
    degraded: int = 0
    shadows: int = 0
    agreed: int = 0
    pairs: int = 0  # of frames that follow each other in a stream
    label_changes: int = 0
    path_changes: int = 0
    _last: dict[int, tuple[int, bool]] = field(default_factory=dict)

    def add(self, prepare_ms: float, age_ms: float, result: Result, stream: int = 0) -> None:
        """One frame. The stage times of a batch count for each of its images, since each one waited that long.

        age_ms: from the moment that the frame was taken to its answer.
        """
        before, self._last[stream] = self._last.get(stream), (result.index, result.exits_early)
        if before is not None:
            self.pairs += 1
            self.label_changes += before[0] != result.index
            self.path_changes += before[1] != result.exits_early
        self.degraded += result.degraded
        if result.agreed is not None:
            self.shadows += 1
            self.agreed += result.agreed
        self.age_ms.append(age_ms)
        self.prepare_ms.append(prepare_ms)
        self.ee_ms.append(result.ee_ms)
        total = prepare_ms + result.ee_ms
        self.frames += 1
        if result.sac_ms is None:
            self.exits += not result.degraded  # EE was not sure: it answered because SAC would have been late
            self.exit_ms.append(total)
        else:
            self.sac_ms.append(result.sac_ms)
            self.full_ms.append(total + result.sac_ms)

    def live(self) -> dict[str, Any]:
        """Numbers for video: the shares of successive frames whose label or path changes, deadlines, shadows."""
        return {
            "label_flicker": round(self.label_changes / self.pairs, 4) if self.pairs else 0.0,
            "path_flicker": round(self.path_changes / self.pairs, 4) if self.pairs else 0.0,
            "degraded": self.degraded,
            "shadows": self.shadows,
            "shadow_agreement": round(self.agreed / self.shadows, 4) if self.shadows else None,
        }

    @property
    def exit_rate(self) -> float:
        return self.exits / self.frames if self.frames else 0.0

    def summary(self, duration_s: float) -> dict[str, Any]:
        return {
            "frames": self.frames,
            "exits": self.exits,
            "exit_rate": round(self.exit_rate, 4),
            "fps": round(self.frames / duration_s, 2) if duration_s > 0 else 0.0,
            "duration_s": round(duration_s, 3),
            "live": self.live(),
            "stages": {
                "prepare": summarise(self.prepare_ms),
                "EE": summarise(self.ee_ms),
                "SAC": summarise(self.sac_ms),
            },
            "paths": {
                "exit": summarise(self.exit_ms),
                "full": summarise(self.full_ms),
                "all": summarise([*self.exit_ms, *self.full_ms]),
            },
            "frame": {"age": summarise(self.age_ms)},
        }


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """The summary as text."""
    lines = [
        f"{summary['frames']} frames in {summary['duration_s']:.2f} s ({summary['fps']:.1f} fps), {summary['exits']} exits"
        f" ({summary['exit_rate']:.1%}), {summary['dropped']} dropped, {summary['skipped']} skipped",
        *live_lines(summary["live"]),
        f"{'':9}{'n':>7}{'median':>10}{'p90':>10}{'p95':>10}{'p99':>10}  ms",
    ]
    for group in ("stages", "paths", "frame"):
        for name, numbers in summary[group].items():
            if numbers["n"]:
                cells = "".join(f"{numbers[key]:10.2f}" for key in ("median_ms", "p90_ms", "p95_ms", "p99_ms"))
                lines.append(f"{name:9}{numbers['n']:7d}{cells}")
    return lines


def live_lines(live: dict[str, Any]) -> list[str]:
    """Lines on flicker, the deadline and shadows, where there were any."""
    lines = [
        f"from frame to frame the label changes {live['label_flicker']:.1%} of the time, the path {live['path_flicker']:.1%}"
    ]
    if live["degraded"]:
        lines.append(f"{live['degraded']} answers degraded: SAC would have missed the deadline")
    if live["shadows"]:
        lines.append(f"{live['shadows']} exits were shown to SAC too: it agrees with {live['shadow_agreement']:.1%}")
    return lines
