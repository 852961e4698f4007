"""Timing in trtexec's terms: the same summary lines, percentiles and --exportTimes file, so that numbers can be compared.

Source: NVIDIA/TensorRT, samples/common/sampleReporting.cpp, the same from 8.6 to 11.1.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...bundle.files import written_whole
from ...runtime.percentiles import PERCENTILES, percentile

UNSTABLE = 0.025  # coefficient of variation of the GPU time above which trtexec advises to lock the clocks
LAUNCH_BOUND = 0.8  # enqueue time over GPU time


@dataclass(frozen=True)
class Pass:
    """One inference, in milliseconds from the first one's start: begin and end of each of its parts.

    enqueue is empty on a backend that returns when the pass is done. labels: additional keys for the exported times.
    """

    enqueue: tuple[float, float]
    h2d: tuple[float, float]
    compute: tuple[float, float]
    d2h: tuple[float, float]
    labels: Mapping[str, Any] = field(default_factory=dict)

    @property
    def latency_ms(self) -> float:
        """Copies and kernels, without the host's time."""
        return sum(end - begin for begin, end in (self.h2d, self.compute, self.d2h))


def summary_lines(passes: Sequence[Pass], wall_s: float) -> list[str]:
    """trtexec's performance summary, with its warnings; for a backend without a GPU only throughput and latency."""
    if all(one.enqueue[0] == one.enqueue[1] for one in passes):
        latency = _statistics([one.latency_ms for one in passes])
        return [
            f"Throughput: {len(passes) / wall_s:g} qps", f"Latency: {latency}", f"Total Host Walltime: {wall_s:g} s"
        ]  # fmt: skip
    parts = {
        "Latency": [one.latency_ms for one in passes],
        "Enqueue Time": _spans(passes, "enqueue"),
        "H2D Latency": _spans(passes, "h2d"),
        "GPU Compute Time": _spans(passes, "compute"),
        "D2H Latency": _spans(passes, "d2h"),
    }
    lines = [f"Throughput: {len(passes) / wall_s:g} qps"]
    lines += [f"{name}: {_statistics(values)}" for name, values in parts.items()]
    compute = parts["GPU Compute Time"]
    lines += [f"Total Host Walltime: {wall_s:g} s", f"Total GPU Compute Time: {sum(compute) / 1e3:g} s"]
    median = statistics.median(compute)
    if statistics.median(parts["Enqueue Time"]) > LAUNCH_BOUND * median:
        lines.append("warning: throughput may be bound by enqueue time: the GPU waits for the CPU; use a CUDA graph")
    if len(compute) > 1 and statistics.stdev(compute) > UNSTABLE * statistics.mean(compute):
        lines.append("warning: GPU compute time is unstable; lock the clocks (jetson_clocks, nvidia-smi -lgc)")
    return lines


def write_times(passes: Sequence[Pass], path: Path) -> None:
    """The file of trtexec's --exportTimes: a list with an object for each pass."""
    rows = []
    for one in passes:
        row: dict[str, Any] = {}
        for name, (begin, end) in (
            ("Enq", one.enqueue), ("H2d", one.h2d), ("Compute", one.compute), ("D2h", one.d2h)
        ):  # fmt: skip
            row |= {f"start{name}Ms": round(begin, 6), f"end{name}Ms": round(end, 6)}
        spans = {"h2dMs": one.h2d, "computeMs": one.compute, "d2hMs": one.d2h}
        row |= {name: round(end - begin, 6) for name, (begin, end) in spans.items()}
        rows.append(row | {"latencyMs": round(one.latency_ms, 6)} | dict(one.labels))
    with written_whole(path) as partial:
        partial.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


def _spans(passes: Sequence[Pass], part: str) -> list[float]:
    return [end - begin for begin, end in (getattr(one, part) for one in passes)]


def _statistics(values: Sequence[float]) -> str:
    shares = ", ".join(f"percentile({percent}%) = {percentile(values, percent):g} ms" for percent in PERCENTILES)
    return (
        f"min = {min(values):g} ms, max = {max(values):g} ms, mean = {statistics.mean(values):g} ms,"
        f" median = {statistics.median(values):g} ms, {shares}"
    )
