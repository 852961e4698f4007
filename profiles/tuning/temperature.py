"""Temperature scaling: one number that makes confidences match accuracies. Guo et al., arXiv 1706.04599."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Pieces = Callable[[], Iterator[tuple[Floats, npt.NDArray[np.int64]]]]  # logits (n, C) and labels (n,)

COLDEST, HOTTEST = 0.25, 10.0  # a few images that are all right would fit 0, which makes every confidence 1
STEPS = 40  # of the golden section: the interval shrinks to a 10^8th
BINS = 15  # of the calibration error, as in the paper
GOLDEN = (math.sqrt(5) - 1) / 2


def negative_log_likelihood(pieces: Pieces, temperature: float) -> float:
    """The mean negative log likelihood over all images, in nats."""
    total, count = 0.0, 0
    for logits, labels in pieces():
        scaled = logits.astype(np.float64) / temperature
        scaled -= scaled.max(-1, keepdims=True)
        total += float((np.log(np.exp(scaled).sum(-1)) - scaled[np.arange(len(labels)), labels]).sum())
        count += len(labels)
    return total / max(count, 1)


def fit_temperature(pieces: Pieces) -> float:
    """The temperature in [COLDEST, HOTTEST] with the smallest negative log likelihood; 1 where there are no images.

    Golden section on log T: the likelihood is convex in 1 / T, and so has one minimum.
    """
    if next(pieces(), None) is None:
        return 1.0
    low, high = math.log(COLDEST), math.log(HOTTEST)
    a, b = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_a, at_b = (negative_log_likelihood(pieces, math.exp(place)) for place in (a, b))
    for _ in range(STEPS):
        if at_a < at_b:
            high, b, at_b = b, a, at_a
            a = high - GOLDEN * (high - low)
            at_a = negative_log_likelihood(pieces, math.exp(a))
        else:
            low, a, at_a = a, b, at_b
            b = low + GOLDEN * (high - low)
            at_b = negative_log_likelihood(pieces, math.exp(b))
        if high - low < 1e-4:
            break
    return round(math.exp((low + high) / 2), 4)


def calibration_error(confidence: Floats, is_right: npt.NDArray[np.bool_]) -> float:
    """Expected calibration error in [0, 1]: the difference of confidence and accuracy, over BINS equal intervals."""
    if not len(confidence):
        return 0.0
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    gaps = np.abs(np.bincount(place, confidence, BINS) - np.bincount(place, is_right, BINS))
    return float(gaps[counts > 0].sum() / len(confidence))
