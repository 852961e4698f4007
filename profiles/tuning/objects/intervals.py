"""Intervals of shares: Wilson's for counts, which has a width where all or none are right, and a bootstrap's for means."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Z = 1.959963984540054  # of the central 95 % of the normal distribution
RESAMPLES = 1000

Ends = tuple[float, float]


def wilson(right: int, count: int) -> Ends:
    """The score interval of a share (Wilson, JASA 22, 1927, 209-212)."""
    share, scale = right / count, 1 + Z * Z / count
    middle = (share + Z * Z / (2 * count)) / scale
    half = Z * math.sqrt(share * (1 - share) / count + Z * Z / (4 * count * count)) / scale
    # Rounding may push an end a little past 0 or 1, or past the share itself.
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def bootstrap_mean(values: npt.NDArray[np.floating], seed: int = 0) -> Ends:
    """The central 95 % of the mean over resampled values (Efron's percentile interval)."""
    rng = np.random.default_rng(seed)
    means = [float(values[rng.integers(0, len(values), len(values))].mean(dtype=np.float64)) for _ in range(RESAMPLES)]
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)
