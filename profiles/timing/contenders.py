"""The variants that are measured by turns: the chain at several thresholds, each path by itself, the plain ViT."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ...runtime.chain.gate import Gate
from ...runtime.chain.pipeline import Pipeline
from .inputs import Images
from .plain import Plain

ALWAYS, NEVER, PLAIN = "always exit", "never exit", "plain ViT"  # variants whose costs give the break-even
STAGES = ("preprocess", "EE", "gate", "SAC", "post")  # "EE" of the plain ViT's record is its only pass


@dataclass
class Record:
    """The passes of a window: their start in seconds of our clock, and milliseconds by stage; SAC is 0 where no image went
    on."""

    begin_s: list[float] = field(default_factory=list)
    stages_ms: list[tuple[float, ...]] = field(default_factory=list)
    survivors: list[int] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)  # of each image

    def arrays(self) -> dict[str, npt.NDArray[np.float64]]:
        """By name: `begin_s`, a column per stage, their sum `total`, `survivors`, and `confidence` of each image."""
        columns = np.array(self.stages_ms, dtype=np.float64).reshape(len(self.stages_ms), len(STAGES))
        named = {name: columns[:, index] for index, name in enumerate(STAGES)}
        return {
            "begin_s": np.array(self.begin_s),
            **named,
            "total": columns.sum(axis=1),
            "survivors": np.array(self.survivors, dtype=np.float64),
            "confidence": np.array(self.confidence),
        }


class Contender(Protocol):
    """A variant. It runs over the images, `batch` at a time, again and again."""

    name: str
    batch: int

    @property
    def threshold(self) -> float | None:
        """The threshold; None where there is no gate, or one that always decides the same way."""

    def run_pass(self, record: Record) -> None:
        """Runs one pass and adds its times to the record."""


class Chain:
    """The pipeline at one gate."""

    def __init__(self, name: str, pipeline: Pipeline, gate: Gate, images: Images, batch: int) -> None:
        self.name, self.batch = name, batch
        self.threshold = None if name in (ALWAYS, NEVER) else gate.threshold
        self._pipeline, self._gate, self._images = pipeline, gate, images
        self._next = 0

    def run_pass(self, record: Record) -> None:
        """See `Contender`."""
        track, clock = self._pipeline.track(self.batch), time.perf_counter
        began = clock()
        for slot in track.images[: self.batch]:
            self._images.prepare(self._next, slot)
            self._next += 1
        prepared = clock()
        track.start(self.batch)
        track.gate(self._gate)
        track.finish()
        answered = clock()
        results = self._pipeline.results(track)
        ended = clock()
        sac_ms = track.sac_ms if track.survivors else 0.0
        record.begin_s.append(began)
        record.stages_ms.append(
            (
                1e3 * (prepared - began),
                track.ee_ms,
                1e3 * (answered - prepared) - track.ee_ms - sac_ms,
                sac_ms,
                1e3 * (ended - answered),
            )
        )
        record.survivors.append(track.survivors)
        record.confidence.extend(result.confidence for result in results)


class PlainViT:
    """The plain ViT on the same images."""

    name, threshold = PLAIN, None

    def __init__(self, plain: Plain, images: Images, batch: int) -> None:
        self.batch, self._plain, self._images = batch, plain, images
        self._next = 0

    def run_pass(self, record: Record) -> None:
        """See `Contender`."""
        clock, binding = time.perf_counter, self._plain.binding(self.batch)
        began = clock()
        for slot in self._plain.images[: self.batch]:
            self._images.prepare(self._next, slot)
            self._next += 1
        prepared = clock()
        binding.start()
        binding.wait()
        answered = clock()
        for logits in self._plain.logits[: self.batch]:
            int(logits.argmax())
        ended = clock()
        record.begin_s.append(began)
        record.stages_ms.append(
            (1e3 * (prepared - began), 1e3 * (answered - prepared), 0.0, 0.0, 1e3 * (ended - answered))
        )
        record.survivors.append(0)


def run_for(contender: Contender, duration_s: float, passes: int | None = None, least: int = 1) -> Record:
    """Runs passes without pause for that long, and at least `least` of them, or exactly `passes`."""
    record = Record()
    until = time.perf_counter() + duration_s
    while True:
        contender.run_pass(record)
        done = len(record.begin_s)
        if done >= passes if passes is not None else done >= least and time.perf_counter() >= until:
            return record
