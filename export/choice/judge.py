"""One candidate against the reference answers: loaded, asked at every batch size, judged by the guards of the export."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...bundle.errors import EngineError, GuardError
from ...bundle.gating import may_exit
from ...bundle.goldens import Goldens, read_goldens
from ...bundle.manifest import read_manifest
from ...calibration.decisions import Comparison
from ...calibration.guards import judge
from ...calibration.threshold import match_exit_rate
from ...runtime.engines.options import PROVIDERS, EngineOptions, Provider
from ...runtime.engines.pairs import load_pair
from ..plans.answers import PairRunner, compare_answers, for_few
from ..plans.verify import limits_for

CHANCE = 1.96  # standard deviations of a normal variable that 95 % lie within


def judge_candidate(
    folder: Path, ee: Path, sac: Path, provider: Provider | None, batches: Sequence[int], slowest_ms: float | None
) -> tuple[dict[str, Any], float]:
    """What `Candidate` says of the check: guards, the fitted threshold, the mean logit error, what runs it. And milliseconds
    of a pass of both stages, of the smallest size.

    Raises EngineError where the engines do not run here, or take more than slowest_ms for such a pass: their answers would take
    minutes. Raises GuardError for a NaN among the answers.
    """
    manifest, goldens = read_manifest(folder), read_goldens(folder)
    stages = load_pair(ee, sac, EngineOptions(provider or "auto"))
    precisions = [stage.record.precision for stage in stages]
    if provider is not None:
        precisions.append(PROVIDERS[provider].computes_in)
    limits = for_few(limits_for(precisions, manifest), len(goldens.images))
    runner = PairRunner(*stages, stages[0].capacity or max(batches))
    pair_ms = time_pair(runner, goldens, min(stages[0].batches or batches))
    if slowest_ms is not None and pair_ms > slowest_ms:
        raise EngineError(f"a pass of both stages takes {pair_ms:.1f} ms, which is too slow to be chosen")
    eta, threshold, fitted = manifest.threshold.value, stages[0].record.threshold, None
    guards, errors = [], []
    for places in stages[0].batches or batches:
        comparison = compare_answers(goldens, runner.answers(goldens, places))
        require_numbers(comparison, ee)
        if fitted is None:
            fitted = fit_threshold(comparison, eta, threshold)
        guards += [
            replace(guard, name=f"{guard.name}, {places} per pass")
            for guard in judge(comparison, eta, threshold if fitted is None else fitted, limits)
        ]
        assert comparison.sac is not None
        errors += [float(answers.mean_error.mean()) for answers in (comparison.ee, comparison.sac)]
    return {
        "guards": [{**guard.to_dict(), "holds": guard.holds} for guard in guards],
        "refused": "; ".join(str(guard).strip() for guard in guards if not guard.holds) or None,
        "threshold": fitted,
        "logit_error": max(errors),
        "runs_on": stages[0].backend,
    }, pair_ms


def time_pair(runner: PairRunner, goldens: Goldens, places: int) -> float:
    """Milliseconds of the faster of two passes of both stages, behind one that does not count."""
    few = Goldens(*(array[:places] for array in vars(goldens).values()))
    times = []
    for _ in range(3):
        began = time.perf_counter()
        runner.answers(few, places)
        times.append(1e3 * (time.perf_counter() - began))
    return min(times[1:])


def require_numbers(comparison: Comparison, ee: Path) -> None:
    """Raises GuardError where an answer is no number: no threshold and no limit can be set against it."""
    assert comparison.sac is not None
    for values in (comparison.variant_confidence, comparison.ee.mean_error, comparison.sac.mean_error):
        if not np.isfinite(values).all():
            raise GuardError(
                f"{ee.name} and its SAC answer {int((~np.isfinite(values)).sum())} images with NaN or infinity"
            )


def fit_threshold(comparison: Comparison, eta: float, threshold: float) -> float | None:
    """The threshold at which as many reference images exit as with FP32 at eta; None where the stored one stays.

    It stays unless more gates flip in one direction than chance explains (McNemar's test with continuity correction, at 95 %):
    the export fitted it to hundreds of images, and a fit to these would only add their noise.
    """
    exits, found = may_exit(comparison.confidence, eta), may_exit(comparison.variant_confidence, threshold)
    lost, gained = int((exits & ~found).sum()), int((found & ~exits).sum())
    if abs(lost - gained) - 1 <= CHANCE * (lost + gained) ** 0.5:
        return None
    return match_exit_rate(comparison.confidence, eta, comparison.variant_confidence)


def exit_rate_of(goldens: Goldens, eta: float) -> float:
    """The share of the reference images that exit with FP32, in [0, 1]."""
    return float(may_exit(goldens.confidence, eta).mean())
