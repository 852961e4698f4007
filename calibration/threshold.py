"""The gate's threshold for a variant: INT8 compresses confidences, so that other images would exit at FP32's eta."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..bundle.gating import may_exit
from .decisions import Comparison

Confidences = npt.NDArray[np.float32]


def match_exit_rate(confidence: Confidences, threshold: float, variant: Confidences) -> float:
    """The eta at which as many images exit by the `variant` confidences as do by `confidence` at `threshold`.

    Unchanged where it already fits, and where a variant computes NaN, since no threshold helps then. Otherwise halfway between
    two neighbouring confidences. If equal confidences make the count impossible, the nearest possible count is used. In [0, 1].
    """
    wanted = int(may_exit(confidence, threshold).sum())
    if int(may_exit(variant, threshold).sum()) == wanted or np.isnan(variant).any():
        return threshold
    ordered = np.sort(variant.astype(np.float64))[::-1]
    # A threshold behind k images needs a gap between confidences there; k = 0 and k = n have the ends of the scale.
    edges = np.concatenate([[1 + np.spacing(np.float32(1))], ordered, [-1.0]])
    places = np.flatnonzero(edges[:-1] > edges[1:])
    count = int(places[np.abs(places - wanted).argmin()])
    above, below = edges[count], edges[count + 1]
    return float(np.clip(round_inside(below, above), 0, 1))


def round_inside(below: float, above: float) -> float:
    """The shortest decimal in (below, above] near the middle, as FP32 compares it."""
    middle = (below + above) / 2
    for digits in range(3, 10):
        rounded = np.float32(round(middle, digits))
        if np.float32(below) < rounded <= np.float32(above):
            return round(middle, digits)
    return above


def lowest_for_top1(comparison: Comparison, goal: float) -> float | None:
    """The smallest eta on a grid of 0.01 at which the variant's chain reaches `goal` top-1 in [0, 1]; None when none does."""
    grid = [step / 100 for step in range(101)]
    return next((eta for eta in grid if comparison.accuracy(eta, variant=True) >= goal), None)
