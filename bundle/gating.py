"""The gate's rule: which images may exit after EE. The runtime, the guards, the training and the tuning all use it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]


def may_exit(confidence: Floats, threshold: float | Floats) -> npt.NDArray[np.bool_]:
    """True where an image exits: its confidence is at least the threshold (one, or one per image), compared in FP32.

    NaN never exits.

    A threshold of 1 lets no image exit, as in the paper's experiment with SAC on every image: FP32 rounds the confidence of
    a sure network to exactly 1, so that equality would let many of them exit.
    """
    eta = np.asarray(threshold, np.float32)
    return np.asarray((np.asarray(confidence, np.float32) >= eta) & (eta < 1))


def confidence_of(logits: npt.NDArray[np.floating], temperature: float = 1.0) -> Floats:
    """(B,) in [0, 1]: the largest softmax probability of logits (B, C) / temperature; of cells (B, 2G, 2G, C) the smallest."""
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=-1, keepdims=True)
    largest = 1 / np.exp(scaled).sum(axis=-1)
    return np.asarray(largest.reshape(len(logits), -1).min(1), np.float32)
