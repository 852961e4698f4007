"""The gate between the stages: who is sure enough to leave."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ...bundle.errors import EngineError, UsageError


class Gate:
    """Lets an image exit when its confidence is at least the threshold; equality exits.

    threshold: eta in [0, 1]. It is compared in FP32, the type of the confidence: 0.7 means the FP32 number nearest 0.7.
    temperature: what EE's logits are divided by before the softmax; 1 takes the engine's own confidence.
    """

    # Images of the last pass that SAC answered although they exit, and that exit although they are not sure: see LiveGate.
    shadows: frozenset[int] = frozenset()
    degraded: frozenset[int] = frozenset()
    # Images of the last pass that have no answer: see EachGate of serving. This gate raises for them instead.
    broken: frozenset[int] = frozenset()

    def __init__(self, threshold: float, temperature: float = 1.0) -> None:
        if math.isnan(threshold) or not 0 <= threshold <= 1:
            raise UsageError(f"the threshold must lie in [0, 1], found {threshold}")
        if not 0 < temperature < math.inf:
            raise UsageError(f"the temperature must lie above 0, found {temperature}")
        self.threshold, self.temperature = float(threshold), float(temperature)
        self._threshold = np.float32(threshold)

    def calibrate(self, logits: npt.NDArray[np.float32], confidence: npt.NDArray[np.float32]) -> None:
        """Writes the largest softmax probability of logits (B, C) / temperature into `confidence` (B,), where that is not 1."""
        if self.temperature != 1.0:
            scaled = (logits - logits.max(axis=1, keepdims=True)) / np.float32(self.temperature)
            confidence[:] = 1 / np.exp(scaled).sum(axis=1)

    def learn(self, sac_ms: float, images: int) -> None:
        """What a pass of SAC took: of no use to a gate without a deadline."""

    def survivors(self, confidence: npt.NDArray[np.float32], row: npt.NDArray[np.int32]) -> int:
        """Writes the indices of the images that go on to SAC into `row`, in order; returns how many there are.

        confidence: (B,) in [0, 1]; row: (at least B,) int32. Raises EngineError for a confidence that is no number.
        """
        count = 0
        for index, value in enumerate(confidence):
            if value >= self._threshold:
                continue
            if value != value:
                raise EngineError(
                    f"image {index} of the batch got a confidence that is no number: the engine computes NaN."
                    f" Check the export (sacvit-export) and the precision of the engine"
                )
            row[count] = index
            count += 1
        return count
