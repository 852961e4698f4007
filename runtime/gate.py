"""The gate between the stages: who is sure enough to leave."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ..bundle.errors import EngineError, UsageError


class Gate:
    """Lets an image exit when its confidence is at least the threshold; equality exits.

    threshold: eta in [0, 1]. It is compared in FP32, the type of the confidence: 0.7 means the FP32 number nearest 0.7.
    """

    def __init__(self, threshold: float) -> None:
        if math.isnan(threshold) or not 0 <= threshold <= 1:
            raise UsageError(f"the threshold must lie in [0, 1], found {threshold}")
        self.threshold = float(threshold)
        self._threshold = np.float32(threshold)

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
