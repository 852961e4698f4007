"""The gate of a server: every image may come with an eta of its own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..runtime.chain.gate import Gate


class EachGate(Gate):
    """Compares the confidence of each image of a batch with that image's eta. `threshold` is what requests get by default."""

    def __init__(self, threshold: float, temperature: float = 1.0) -> None:
        super().__init__(threshold, temperature)
        self.thresholds: npt.NDArray[np.float32] = np.zeros(0, np.float32)

    def begin(self, thresholds: list[float]) -> None:
        """The etas of the next batch, in the order of its images."""
        self.thresholds = np.array(thresholds, np.float32)

    def survivors(self, confidence: npt.NDArray[np.float32], row: npt.NDArray[np.int32]) -> int:
        """See `Gate`. A confidence that is no number goes on: one broken answer must not take a batch of others along."""
        going_on = np.flatnonzero(~(confidence >= self.thresholds))
        row[: len(going_on)] = going_on
        return len(going_on)
