"""The SACs of one bundle with different shares of target blocks (alpha): their answers to the same images, and their times."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ....bundle.errors import UsageError
from ....bundle.precision import further_name
from ....bundle.stage_record import require_pair
from ....images.labelled import Labelled
from ....runtime.chain.pipeline import Pipeline
from ....runtime.chain.track import places_for
from ....runtime.engines.backends import load_stage
from ....runtime.engines.options import EngineOptions
from ....runtime.engines.stage import Binding
from ...timing.alternating import time_alternating
from ..answer_files import Answers
from ..stored_answers import collect

ROUNDS, WARMUP_ROUNDS = 31, 3


@dataclass(frozen=True)
class Times:
    """Median milliseconds of a pass with a full batch, measured by turns."""

    ee_ms: float
    sac_ms: dict[float, float]  # by alpha


def own_alpha(pipeline: Pipeline) -> float:
    return float(pipeline.sac.record.config["alpha"])


def files_of(sac: Path, own: float, alphas: Sequence[float]) -> dict[float, Path]:
    """The SAC file of each alpha, the bundle's own among them. Raises UsageError for one that the bundle does not have."""
    found = {own: sac}
    for alpha in alphas:
        path = sac if alpha == own else sac.with_name(further_name(sac.name, alpha))
        if not path.is_file():
            raise UsageError(
                f"--alpha {alpha:g}: {path} is missing, and the bundle's own alpha is {own:g}. A SAC graph has one alpha:"
                f" export again with --sac-alpha {','.join(f'{one:g}' for one in alphas if one != own)}"
            )
        found[alpha] = path
    return dict(sorted(found.items()))


def load_pipelines(
    pipeline: Pipeline, sac: Path, alphas: Sequence[float], options: EngineOptions
) -> dict[float, Pipeline]:
    """A pipeline for each alpha; all share the loaded EE. Raises EngineError for a SAC of another export."""
    own = own_alpha(pipeline)
    if own != pipeline.ee.record.config["alpha"]:
        raise UsageError(
            f"--alpha compares with the bundle's own SAC, and {sac.name} is a further one: give the own SAC to --engine"
        )
    pipelines = {}
    for alpha, path in files_of(sac, own, alphas).items():
        if alpha == own:
            pipelines[alpha] = pipeline
            continue
        stage = load_stage(path, options)
        require_pair(pipeline.ee.path, pipeline.ee.record, path, stage.record)
        pipelines[alpha] = Pipeline(pipeline.ee, stage, pipeline.threshold, pipeline.temperature)
    return pipelines


def collect_each(
    pipelines: dict[float, Pipeline],
    own: Pipeline,
    sets: Sequence[Labelled],
    folder: Path,
    batch: int,
    progress: Callable[[int, int], None],
) -> dict[float, list[Answers]]:
    """The answers of every SAC but the bundle's own, kept beside its: see `collect`."""
    return {
        alpha: [
            collect(pipeline, images, folder / f"{name}-alpha{alpha:g}", batch, progress)
            for images, name in zip(sets, ("answers", "answers-report"), strict=False)
        ]
        for alpha, pipeline in pipelines.items()
        if pipeline is not own
    }


def measure_times(pipelines: dict[float, Pipeline], batch: int) -> Times:
    """EE's pass and each SAC's, all in every round, so that what disturbs the machine disturbs all of them alike."""
    tasks: dict[str, Callable[[], object]] = {}
    for alpha, pipeline in pipelines.items():
        track = pipeline.track(batch)
        track.start(batch)  # SAC reads what EE hands over
        track.row[:batch] = range(batch)
        ee = track.ee_binding(places_for(batch, pipeline.ee.batches))
        ee.wait()
        sac = track.sac_binding(places_for(batch, pipeline.sac.batches))
        tasks.setdefault("EE", _pass_of(ee))
        tasks[f"{alpha:g}"] = _pass_of(sac)
    found = time_alternating(tasks, ROUNDS, WARMUP_ROUNDS)
    medians = {name: statistics.median(values) for name, values in found.items()}
    return Times(medians["EE"], {alpha: medians[f"{alpha:g}"] for alpha in pipelines})


def _pass_of(binding: Binding) -> Callable[[], object]:
    def run() -> None:
        binding.start()
        binding.wait()

    return run
