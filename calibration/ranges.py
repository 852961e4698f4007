"""Ranges of tensors: a histogram of magnitudes over any number of images, and four ways to choose a limit.

ONNX Runtime's calibrators were tried first (1.31): their histograms keep the first batch's bin width and grow without
bound, NaN is skipped, nothing minimises the squared error, and the entropy calibrator's default of 128 bins leaves it one
candidate, the maximum. The percentile is tested against theirs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .methods import Method
from .qdq_placement import LEVELS

BINS = 2048
PERCENTILE = 99.99  # of magnitudes that are not clipped: FasterTransformer's setting for ViT
SMALLEST_CUT = 16  # 1/16 of the range; less is never best, and its step would be finer than a bin
CANDIDATES = 256

Array = npt.NDArray[Any]


class Histogram:
    """Counts of |x| in BINS equal bins from 0 to `top`; `top` doubles when a value exceeds it, so memory stays fixed."""

    def __init__(self) -> None:
        self.counts = np.zeros(BINS, np.int64)
        self.top = 0.0
        self.largest = 0.0

    def add(self, values: Array) -> None:
        """Counts an array of finite floats of any shape."""
        magnitudes = np.abs(values).ravel()
        largest = float(magnitudes.max(initial=0))
        self.largest = max(self.largest, largest)
        if self.top == 0:
            self.top = largest
        while self.top < largest:
            self.counts[: BINS // 2] = self.counts[0::2] + self.counts[1::2]
            self.counts[BINS // 2 :] = 0
            self.top *= 2
        if self.top == 0:
            self.counts[0] += magnitudes.size
            return
        places = np.minimum((magnitudes * np.float64(BINS / self.top)).astype(np.int32), BINS - 1)
        self.counts += np.bincount(places, minlength=BINS)

    def range_by(self, method: Method) -> float:
        """The largest magnitude to represent: at most the largest seen; 0 when every value was 0."""
        if method == "minmax" or self.largest == 0:
            return self.largest
        cut = {"percentile": self._percentile, "entropy": self._entropy, "mse": self._least_squares}[method]()
        return min(cut, self.largest)

    def _percentile(self) -> float:
        share = np.cumsum(self.counts) / self.counts.sum()
        return float((np.searchsorted(share, PERCENTILE / 100) + 1) * self.top / BINS)

    def _least_squares(self) -> float:
        """The cut with the least squared error of rounding inside and of clipping outside."""
        held = np.flatnonzero(self.counts)
        middle = (held + 0.5) * (self.top / BINS)
        cuts = np.linspace(self.largest / SMALLEST_CUT, self.largest, CANDIDATES)[:, None]
        step = cuts / LEVELS
        error = middle / step
        np.rint(error, out=error)
        np.minimum(error, LEVELS, out=error)
        error *= step
        error -= middle
        return float(cuts[np.argmin(np.square(error, out=error) @ self.counts[held].astype(np.float64)), 0])

    def _entropy(self) -> float:
        """The cut with the least Kullback-Leibler divergence: TensorRT's rule (S. Migacz, GTC 2017)."""
        levels = LEVELS + 1
        best, cut = np.inf, BINS
        for bins in range(levels, BINS + 1, levels // 16):
            inside = self.counts[:bins].astype(np.float64)
            clipped = inside.copy()
            clipped[-1] += self.counts[bins:].sum()
            level = np.arange(bins) * levels // bins
            # Each level spreads its counts evenly over its bins that are not empty.
            held = np.bincount(level, inside > 0, levels)
            spread = np.where(inside > 0, (np.bincount(level, inside, levels) / np.maximum(held, 1))[level], 0)
            p, q = clipped / clipped.sum(), spread / max(spread.sum(), 1)
            seen = p > 0
            divergence = float((p[seen] * np.log(p[seen] / np.maximum(q[seen], 1e-12))).sum())
            if divergence < best:
                best, cut = divergence, bins
        return cut * self.top / BINS
