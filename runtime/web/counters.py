"""What was counted since the start, by camera: the numbers behind /metrics and /healthz."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..sinks.sink import Answer

# Upper bounds of the histograms. Seconds: from a TensorRT plan on a large GPU to ViT-B on a small processor.
SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
CONFIDENCE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
STALLED_S = 10.0


@dataclass
class Distribution:
    """A histogram: `counts` has a place more than `bounds`, for what lies above."""

    bounds: Sequence[float]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


@dataclass
class Camera:
    """What a camera gave. since_s: when its last frame was answered, or its start, on a clock that never jumps."""

    name: str
    since_s: float
    frames: int = 0
    exits: int = 0
    degraded: int = 0
    last: Answer | None = None


class Counters:
    """Written by the chain alone; readers take single numbers, which are whole at any time."""

    def __init__(
        self, names: Sequence[str], stalled_s: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.clock, self.stalled_s = clock, STALLED_S if stalled_s is None else max(stalled_s, STALLED_S)
        self.cameras = [Camera(name, clock()) for name in names]
        self.stages = {"EE": Distribution(SECONDS), "SAC": Distribution(SECONDS)}
        self.paths = {"exit": Distribution(SECONDS), "full": Distribution(SECONDS)}
        self.age, self.confidence = Distribution(SECONDS), Distribution(CONFIDENCE)
        self.events: Counter[str] = Counter()  # by expression
        self.dropped = 0

    def add(self, answer: Answer) -> None:
        result, camera = answer.result, self.cameras[answer.frame.stream]
        camera.frames += 1
        camera.exits += result.exits_early and not result.degraded
        camera.degraded += result.degraded
        camera.last, camera.since_s = answer, self.clock()
        spent_s = 1e-3 * (answer.prepare_ms + result.ee_ms)
        self.stages["EE"].observe(1e-3 * result.ee_ms)
        if result.sac_ms is not None:
            self.stages["SAC"].observe(1e-3 * result.sac_ms)
            spent_s += 1e-3 * result.sac_ms
        self.paths["exit" if result.sac_ms is None else "full"].observe(spent_s)
        self.age.observe(1e-3 * answer.age_ms)
        self.confidence.observe(result.confidence)
        self.dropped = answer.running.dropped

    @property
    def frames(self) -> int:
        return sum(camera.frames for camera in self.cameras)

    @property
    def exits(self) -> int:
        return sum(camera.exits for camera in self.cameras)

    def silent_s(self, camera: Camera) -> float:
        """Seconds since its last answer, or since the start."""
        return max(0.0, self.clock() - camera.since_s)

    def is_stalled(self, camera: Camera) -> bool:
        return self.silent_s(camera) > self.stalled_s
