"""One candidate against the reference answers: loaded, asked at every batch size, judged by the guards of the export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...bundle.errors import GuardError
from ...bundle.gating import may_exit
from ...bundle.goldens import Goldens, read_goldens
from ...bundle.manifest import read_manifest
from ...calibration.decisions import Comparison
from ...calibration.guards import BAND, FEWEST_IN_BAND, judge
from ...calibration.threshold import match_exit_rate
from ...runtime.engines.options import PROVIDERS, EngineOptions, Provider
from ...runtime.engines.pairs import load_pair
from ..plans.answers import PairRunner, compare_answers, for_few
from ..plans.verify import limits_for


def judge_candidate(
    folder: Path, ee: Path, sac: Path, provider: Provider | None, batches: Sequence[int]
) -> dict[str, Any]:
    """What `Candidate` says of the check: guards, the fitted threshold, the mean logit error, what runs it.

    Raises EngineError where the engines do not run here, GuardError for a NaN among their answers.
    """
    manifest, goldens = read_manifest(folder), read_goldens(folder)
    stages = load_pair(ee, sac, EngineOptions(provider or "auto"))
    precisions = [stage.record.precision for stage in stages]
    if provider is not None:
        precisions.append(PROVIDERS[provider].computes_in)
    limits = for_few(limits_for(precisions, manifest), len(goldens.images))
    runner = PairRunner(*stages, stages[0].capacity or max(batches))
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
    }


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

    It stays where it fits, and where too few images lie near it: a fit to a handful is worse than the export's to thousands.
    """
    near = np.abs(comparison.confidence - np.float32(eta)) <= BAND
    fitted = match_exit_rate(comparison.confidence, eta, comparison.variant_confidence)
    stored_exits = may_exit(comparison.variant_confidence, threshold).sum()
    wanted = may_exit(comparison.confidence, eta).sum()
    return None if near.sum() < FEWEST_IN_BAND or stored_exits == wanted else fitted


def exit_rate_of(goldens: Goldens, eta: float) -> float:
    """The share of the reference images that exit with FP32, in [0, 1]."""
    return float(may_exit(goldens.confidence, eta).mean())
