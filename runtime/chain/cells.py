"""The answer of a dense task: a class and a confidence for each cell of the fine grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...bundle.errors import EngineError

GROUND = 0  # class 0 is taken as the ground that other classes lie on: pictures and texts show the others


@dataclass(frozen=True)
class Cells:
    """classes, confidence: (2G, 2G), the most probable class of each cell and its probability. labels: of all classes."""

    classes: npt.NDArray[np.intp]
    confidence: npt.NDArray[np.float32]
    labels: Sequence[str]

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        """(C,) the share of the cells that have each class."""
        return np.bincount(self.classes.ravel(), minlength=len(self.labels)) / self.classes.size

    @property
    def most_frequent(self) -> int:
        """The class of most cells; of equally frequent ones the lowest."""
        return int(self.shares.argmax())

    def text(self) -> str:
        """The classes in the image but the ground, the largest first: "digit 12 %"; the ground's name where it is alone."""
        shares = self.shares
        found = [index for index in np.argsort(-shares, kind="stable").tolist() if shares[index] and index != GROUND]
        return ", ".join(f"{self.labels[index]} {shares[index]:.0%}" for index in found) or self.labels[GROUND]

    def runs(self) -> list[int]:
        """The classes row by row as class, count, class, count and so on."""
        flat = self.classes.ravel()
        starts = np.flatnonzero(np.append(True, flat[1:] != flat[:-1]))
        counts = np.diff(np.append(starts, len(flat)))
        return np.stack([flat[starts], counts], 1).ravel().tolist()


def read_cells(logits: npt.NDArray[np.float32], labels: Sequence[str] | None) -> Cells:
    """The answer in logits (2G, 2G, C). Raises EngineError where the engine computes NaN."""
    classes = logits.argmax(-1)
    largest = np.take_along_axis(logits, classes[..., None], -1)
    confidence = 1 / np.exp(logits - largest, dtype=np.float64).sum(-1)
    if np.isnan(confidence).any():
        raise EngineError("the engine computes NaN; check its precision, and the export (sacvit-export)")
    names = labels or [str(index) for index in range(logits.shape[-1])]
    return Cells(classes, confidence.astype(np.float32), names)
