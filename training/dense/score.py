"""Mean intersection over union (mIoU) of both stages, and the threshold that follows from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...calibration.threshold import round_inside

ALLOWED_LOSS = 0.005  # of mIoU, against SAC on every image: as sacvit-tune's point `balanced` allows of top-1
Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Cells:
    """Cells per image and class, all (N, C): answered with it, of them right, and those that have it in truth."""

    answered: Counts
    right: Counts
    true: Counts

    @property
    def count(self) -> int:
        return len(self.true)

    def of(self, chosen: npt.NDArray[np.intp]) -> Cells:
        return Cells(self.answered[chosen], self.right[chosen], self.true[chosen])

    def miou(self) -> float:
        """Over all images together, the mean over the classes that are answered or true anywhere."""
        return float(mean_iou(self.answered.sum(0), self.right.sum(0), self.true.sum(0)))


def count_cells(found: npt.NDArray[np.integer], truth: npt.NDArray[np.integer], classes: int) -> Cells:
    """found, truth: (N, 2G, 2G) classes."""
    found, truth = (values.reshape(len(values), -1) for values in (found, truth))

    def counted(values: npt.NDArray[np.integer], where: npt.NDArray[np.bool_] | None = None) -> Counts:
        shifted = values + classes * np.arange(len(values))[:, None]
        kept = shifted.ravel() if where is None else shifted[where]
        return np.bincount(kept, minlength=classes * len(values)).reshape(-1, classes)

    return Cells(counted(found), counted(found, found == truth), counted(truth))


def mean_iou(answered: Counts, right: Counts, true: Counts) -> Floats:
    """Counts (..., C) -> mIoU (...)."""
    union = answered + true - right
    shares = np.where(union > 0, right / np.maximum(union, 1), 0.0)
    return np.asarray(shares.sum(-1) / np.maximum((union > 0).sum(-1), 1))


@dataclass(frozen=True)
class JudgedCells:
    """Of each image EE's confidence (N,), and how both stages answer its cells."""

    confidence: npt.NDArray[np.float32]
    ee: Cells
    sac: Cells

    def chain(self, exits: npt.NDArray[np.bool_]) -> Cells:
        """The answers of the chain where these images exit."""
        leaves, ee, sac = exits[:, None], self.ee, self.sac
        return Cells(np.where(leaves, ee.answered, sac.answered), np.where(leaves, ee.right, sac.right), sac.true)

    def fit_threshold(self) -> float:
        """The threshold with the most exits that loses at most ALLOWED_LOSS of mIoU on these images; 1 where none does.

        Where all images may exit, it is the lowest confidence among them, since no image supports a lower one.
        """
        order = np.argsort(-self.confidence, kind="stable")
        ordered = self.confidence[order]

        def chained(ee: Counts, sac: Counts) -> Counts:
            """Sums over the first k images by EE and the others by SAC, for k = 1 .. N."""
            return np.asarray(np.cumsum((ee - sac)[order], 0) + sac.sum(0))

        kept = mean_iou(
            chained(self.ee.answered, self.sac.answered), chained(self.ee.right, self.sac.right), self.sac.true.sum(0)
        )
        last_of_equals = np.append(ordered[:-1] > ordered[1:], True)
        good = np.flatnonzero((kept >= self.sac.miou() - ALLOWED_LOSS) & last_of_equals)
        if not len(good):
            return 1.0
        place = int(good[-1])
        if place + 1 == len(ordered):
            return float(ordered[-1])
        return float(round_inside(float(ordered[place + 1]), float(ordered[place])))

    def is_above_chance(self) -> bool:
        """Whether SAC's mIoU is above that of the most frequent class in every cell."""
        true = self.sac.true.sum(0)
        constant = np.where(np.arange(len(true)) == true.argmax(), true.sum(), 0)
        return self.sac.miou() > float(mean_iou(constant, np.minimum(constant, true), true))
