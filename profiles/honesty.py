"""How far a tuned figure is to be believed: bootstrap intervals, and what tuning on the report's own images would add."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .curve import Judged, Rule, draw_curve, judge_at

RESAMPLES, SPLITS = 500, 100
CONFIDENCE = 0.95


def interval(judged: Judged, figure: Callable[[Judged], float], seed: int = 0) -> tuple[float, float]:
    """The central 95 % of a figure over resampled images. Source: Efron's percentile interval."""
    rng = np.random.default_rng(seed)
    values = [figure(judged.of(rng.integers(0, judged.count, judged.count))) for _ in range(RESAMPLES)]
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def self_deception(judged: Judged, rule: Rule, seed: int = 0) -> float:
    """By how much top-1, in [0, 1], looks better on the half that eta was fitted on than on the other: mean over random halves.

    For tuning on as many images as a half has; 0 where the rule finds no eta.
    """
    rng, gains = np.random.default_rng(seed), []
    for _ in range(SPLITS):
        order = rng.permutation(judged.count)
        halves = judged.of(order[: judged.count // 2]), judged.of(order[judged.count // 2 :])
        curve = draw_curve(halves[0])
        place = rule(curve)
        if place is not None:
            gains.append(float(curve.top1[place]) - judge_at(halves[1], curve.eta(place)).top1)
    return float(np.mean(gains)) if gains else 0.0
