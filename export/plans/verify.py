"""Plans against the reference answers of their bundle, on the device that built them: the guards of the export, once more."""

from __future__ import annotations

import statistics
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...bundle.goldens import read_goldens
from ...bundle.manifest import Manifest
from ...bundle.precision import Limits, Precision, coarsest
from ...calibration.guards import Guard, judge
from ...runtime.chain.track import Track
from ...runtime.engines.backends import load_stage
from ...runtime.engines.cuda import Cuda
from ...runtime.engines.tensorrt import TensorrtStage
from .answers import PairRunner, compare_answers, for_few

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
    """EE alone, or SAC behind the EE that it will run with. threshold: FP32's eta, that of the reference decisions."""
    goldens = read_goldens(folder)
    ee_stage = load_stage(ee)
    sac_stage = ee_stage if sac is None else load_stage(sac)
    assert isinstance(ee_stage.device, Cuda) and ee_stage.capacity is not None
    runner = PairRunner(ee_stage, sac_stage, ee_stage.capacity)
    limits = for_few(limits, len(goldens.images))
    judged = ee_stage if check_ee else sac_stage
    guards: list[Guard] = []
    for places in judged.batches or ():  # TensorRT chooses other kernels for each
        found = runner.answers(goldens, places, with_sac=sac is not None)
        comparison = compare_answers(goldens, found, sac is not None)
        guards += [
            replace(guard, name=f"{guard.name}, {places} per pass")
            for guard in judge(comparison, threshold, ee_stage.record.threshold, limits)
            if (guard.stage == "EE") == check_ee
        ]
    assert isinstance(judged, TensorrtStage)
    return Verdict(guards, latency_ms(ee_stage.device, runner.track, judged), judged.fused_attention())


def latency_ms(cuda: Cuda, track: Track, stage: TensorrtStage) -> dict[int, float]:
    """Median milliseconds from a pass's launch to its end on the GPU, by its size."""
    lane: Any = track.ee_lane
    medians = {}
    for places in stage.batches or ():
        binding = track.ee_binding(places) if stage.record.stage == "EE" else track.sac_binding(places)
        times = []
        for number in range(-WARM_UP_PASSES, TIMED_PASSES):
            first = cuda.record(lane)
            binding.start()
            elapsed = cuda.elapsed_ms(first, cuda.record(lane))
            if number >= 0:
                times.append(elapsed)
        medians[places] = round(statistics.median(times), 4)
    return medians
