"""Plans against the goldens of their bundle, on the device that built them: the guards of the export, once more."""

from __future__ import annotations

import statistics
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...bundle.errors import EngineError
from ...bundle.goldens import Goldens, read_goldens
from ...bundle.manifest import Manifest
from ...bundle.precision import Limits, Precision, coarsest
from ...calibration.decisions import Comparison, answers_between
from ...calibration.guards import Guard, judge
from ...runtime.chain.track import Track, places_for
from ...runtime.engines.backends import load_stage
from ...runtime.engines.cuda import Cuda
from ...runtime.engines.stage import Stage
from ...runtime.engines.tensorrt import TensorrtStage

TIMED_PASSES = 50
WARM_UP_PASSES = 10


@dataclass(frozen=True)
class Verdict:
    """What the check of a plan found. `latency_ms`: median time of a pass on the GPU, from its launch on and with its
    copies, by images per pass.
    """

    guards: list[Guard]
    latency_ms: dict[int, float]
    fused_attention: int  # layers that the engine itself calls fused attention

    @property
    def holds(self) -> bool:
        return all(guard.holds for guard in self.guards)

    def to_dict(self) -> dict[str, Any]:
        return {
            "holds": self.holds,
            "guards": [{**guard.to_dict(), "holds": guard.holds} for guard in self.guards],
            "latency_ms": self.latency_ms,
            "fused_attention": self.fused_attention,
        }


def limits_for(precisions: Collection[Precision], manifest: Manifest) -> Limits:
    """What plans may cost: as much as their variant might at the export; FP32 on another backend next to nothing.

    Of an EE and a SAC behind it the coarser one counts: SAC sees the blocks that EE chose.
    """
    row = coarsest(precisions)
    precision, limits = row.name, row.limits
    variant = manifest.variants.get(precision)
    return limits if variant is None else variant.limits


def verify(
    folder: Path, ee: Path, sac: Path | None, threshold: float, limits: Limits, *, check_ee: bool = True
) -> Verdict:
    """EE alone, or SAC behind the EE that it will run with. threshold: FP32's eta, that of the goldens' decisions."""
    goldens = read_goldens(folder)
    ee_stage = load_stage(ee)
    sac_stage = ee_stage if sac is None else load_stage(sac)
    runner = _Runner(ee_stage, sac_stage)
    # One gate may flip near eta: of the few goldens it is a larger share than the export allowed of thousands.
    limits = limits.but(exit_agreement=min(limits.exit_agreement, 1 - 1 / len(goldens.images)))
    judged = ee_stage if check_ee else sac_stage
    guards: list[Guard] = []
    for places in judged.batches or ():  # TensorRT chooses other kernels for each
        found = runner.answers(goldens, places, with_sac=sac is not None)
        comparison = _compare(goldens, found, sac is not None)
        guards += [
            replace(guard, name=f"{guard.name}, {places} per pass")
            for guard in judge(comparison, threshold, ee_stage.record.threshold, limits)
            if (guard.stage == "EE") == check_ee
        ]
    assert isinstance(judged, TensorrtStage)
    return Verdict(guards, runner.latency_ms("EE" if check_ee else "SAC"), judged.fused_attention())


def _compare(goldens: Goldens, found: Goldens, with_sac: bool) -> Comparison:
    """A plan's answers beside the goldens'. Raises EngineError when they are of another model."""
    for name, expected in vars(goldens).items():
        if getattr(found, name).shape != expected.shape:
            raise EngineError(f"goldens.npz holds {name} {expected.shape}, the plan gives {getattr(found, name).shape}")
    return Comparison(
        confidence=goldens.confidence,
        variant_confidence=found.confidence,
        overlap=(goldens.target_index[:, :, None] == found.target_index[:, None]).any(2).mean(1),
        ee=answers_between(goldens.ee_logits, found.ee_logits),
        sac=answers_between(goldens.sac_logits, found.sac_logits) if with_sac else None,
        labels=None,
    )


class _Runner:
    """Both stages over the goldens, every image through SAC."""

    def __init__(self, ee: Stage, sac: Stage) -> None:
        assert isinstance(ee.device, Cuda) and ee.capacity is not None
        self.cuda, self.ee, self.sac, self.capacity = ee.device, ee, sac, ee.capacity
        self.lane = self.cuda.open_lane(max(ee.scratch_bytes, sac.scratch_bytes))
        self.track = Track(ee, sac, self.capacity, [self.lane])

    def answers(self, goldens: Goldens, places: int, with_sac: bool) -> Goldens:
        """What the plans say, asked in passes of `places`."""
        size = self.track.images.shape[1:]
        if goldens.images.shape[1:] != size:
            raise EngineError(f"goldens.npz holds images {goldens.images.shape[1:]}, the plan takes {size}")
        parts: dict[str, list[Any]] = {name: [] for name in ("ee_logits", "confidence", "target_index", "sac_logits")}
        track = self.track
        for start in range(0, len(goldens.images), places):
            images = goldens.images[start : start + places]
            count = len(images)
            track.images[:count] = images
            binding = track.ee_binding(places_for(places, self.ee.batches))
            binding.start()
            binding.wait()
            if with_sac:
                track.row[:] = np.minimum(np.arange(self.capacity), count - 1)
                binding = track.sac_binding(places)
                binding.start()
                binding.wait()
            for name, seen in zip(
                parts, (track.logits, track.confidence, track.target_index, track.sac_logits), strict=True
            ):
                parts[name].append(seen[:count].copy())
        return Goldens(goldens.images, **{name: np.concatenate(part) for name, part in parts.items()})

    def latency_ms(self, stage: str) -> dict[int, float]:
        """Median milliseconds from a pass's launch to its end, by its size."""
        batches = (self.ee if stage == "EE" else self.sac).batches
        assert batches is not None
        medians = {}
        for places in batches:
            binding = self.track.ee_binding(places) if stage == "EE" else self.track.sac_binding(places)
            times = []
            for number in range(-WARM_UP_PASSES, TIMED_PASSES):
                first = self.cuda.record(self.lane)
                binding.start()
                elapsed = self.cuda.elapsed_ms(first, self.cuda.record(self.lane))
                if number >= 0:
                    times.append(elapsed)
            medians[places] = round(statistics.median(times), 4)
        return medians
