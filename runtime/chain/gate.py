"""The gate between the stages: which images exit after EE, and which go on to SAC."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ...bundle.errors import EngineError, UsageError
from ...bundle.gating import confidence_of, may_exit


class Gate:
    """Lets an image exit when its confidence is at least the threshold; a threshold of 1 sends every image to SAC.

    threshold: eta in [0, 1]; it may be set at any time. It is compared in FP32, the type of the confidence: 0.7 means the
    FP32 number nearest 0.7. temperature: what EE's logits are divided by before the softmax; 1 takes the engine's own
    confidence, None the temperature that was tuned for the gate's pipeline.
    """

    # Images of the last pass: exits that SAC answered too, and exits below the threshold. See LiveGate.
    shadows: frozenset[int] = frozenset()
    degraded: frozenset[int] = frozenset()
    # Images of the last pass that have no answer: see EachGate of serving. This gate raises for them instead.
    broken: frozenset[int] = frozenset()
    shadow = 0.0  # share of the exits that SAC answers too

    def __init__(self, threshold: float, temperature: float | None = None) -> None:
        if temperature is not None and not 0 < temperature < math.inf:
            raise UsageError(f"the temperature must lie above 0, found {temperature}")
        self.temperature = None if temperature is None else float(temperature)
        self.threshold = threshold

    @property
    def threshold(self) -> float:
        return self._threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        if not 0 <= value <= 1:  # NaN too
            raise UsageError(f"the threshold must lie in [0, 1], found {value}")
        self._threshold = float(value)

    @property
    def wants_warm_up(self) -> bool:
        """Whether passes should be run before the first frame, for the gate to learn their time."""
        return False

    @property
    def wants_probe(self) -> bool:
        """Whether a pass of SAC should be run beside the frames, for the gate to learn its time now."""
        return False

    def begin(self, streams: Sequence[int], since_s: float | None = None) -> None:
        """Announces the images of the next pass. Only a gate for video uses this: see LiveGate."""

    def forget(self) -> None:
        """Forgets all passes so far: they were a warm-up."""

    def calibrate(self, logits: npt.NDArray[np.float32], confidence: npt.NDArray[np.float32]) -> None:
        """Writes the confidence of logits (B, C) at the gate's temperature into `confidence` (B,), where that is not 1."""
        if self.temperature not in (None, 1.0):
            confidence[:] = confidence_of(logits, self.temperature)

    def learn(self, sac_ms: float, images: int) -> None:
        """Takes the time of a pass of SAC. A gate without a deadline does not use it."""

    def survivors(self, confidence: npt.NDArray[np.float32], row: npt.NDArray[np.int32]) -> int:
        """Writes the indices of the images that go on to SAC into `row`, in order; returns how many there are.

        confidence: (B,) in [0, 1]; row: (at least B,) int32. Raises EngineError for a confidence of NaN.
        """
        going = np.flatnonzero(~may_exit(confidence, self._threshold))
        if len(going) and np.isnan(confidence[going]).any():
            image = going[np.isnan(confidence[going])][0]
            raise EngineError(
                f"image {image} of the batch got a confidence that is no number: the engine computes NaN."
                f" Check the export (sacvit-export) and the precision of the engine"
            )
        row[: len(going)] = going
        return len(going)
