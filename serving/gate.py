"""The gate of a server: every image may have its own eta."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..bundle.gating import may_exit
from ..runtime.chain.gate import Gate


class EachGate(Gate):
    """Compares the confidence of each image of a batch with that image's eta. `threshold` is the default of requests."""

    def __init__(self, threshold: float, temperature: float = 1.0) -> None:
        super().__init__(threshold, temperature)
        self.thresholds: npt.NDArray[np.float32] = np.zeros(0, np.float32)

    def expect(self, thresholds: list[float]) -> None:
        """Sets the etas of the next batch, in the order of its images."""
        self.thresholds = np.array(thresholds, np.float32)

    def survivors(self, confidence: npt.NDArray[np.float32], row: npt.NDArray[np.int32]) -> int:
        """See `Gate`. An image with a confidence of NaN neither exits nor goes on: it is marked as broken."""
        self.broken = frozenset(np.flatnonzero(np.isnan(confidence)).tolist())
        going_on = np.flatnonzero(~may_exit(confidence, self.thresholds) & ~np.isnan(confidence))
        row[: len(going_on)] = going_on
        return len(going_on)

    def check(self, logits: npt.NDArray[np.float32], row: npt.NDArray[np.int32]) -> None:
        """Marks the survivors as broken whose logits (K, C) of SAC have no largest number."""
        self.broken |= set(row[: len(logits)][~np.isfinite(logits.max(axis=1))].tolist())
