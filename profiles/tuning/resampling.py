"""Bootstrap intervals of tuned values, and the gain that tuning on the reported images themselves would show."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ...bundle.gating import may_exit
from .curve import Judged, Rule, draw_curve

RESAMPLES, SPLITS = 500, 100
CONFIDENCE = 0.95


def intervals(columns: Mapping[str, npt.NDArray[np.generic]], seed: int = 0) -> dict[str, tuple[float, float]]:
    """The central 95 % of each column's mean over resampled images. columns: (N,) each. Efron's percentile interval."""
    rng = np.random.default_rng(seed)
    count = len(next(iter(columns.values())))
    means: dict[str, list[float]] = {name: [] for name in columns}
    for _ in range(RESAMPLES):
        chosen = rng.integers(0, count, count)
        for name, column in columns.items():
            means[name].append(float(column[chosen].mean(dtype=np.float64)))
    ends = (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2
    return {
        name: (float(np.quantile(values, ends[0])), float(np.quantile(values, ends[1])))
        for name, values in means.items()
    }


def self_deception(judged: Judged, rule: Rule, seed: int = 0) -> float:
    """The excess of top-1, in [0, 1], on the half that eta was fitted on over the other half: mean over random halves.

    It is for tuning on as many images as one half has. It is 0 where the rule finds no eta.
    """
    rng, gains = np.random.default_rng(seed), []
    for _ in range(SPLITS):
        order = rng.permutation(judged.count)
        halves = judged.of(order[: judged.count // 2]), judged.of(order[judged.count // 2 :])
        curve = draw_curve(halves[0])
        place = rule(curve)
        if place is not None:
            other = halves[1]
            exits = may_exit(other.confidence, curve.eta(place))
            gains.append(float(curve.top1[place]) - float(np.where(exits, other.ee_right, other.sac_right).mean()))
    return float(np.mean(gains)) if gains else 0.0
