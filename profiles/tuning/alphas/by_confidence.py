"""Two SACs by EE's confidence: of the images that do not exit, the surer ones get one alpha and the others another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from ....bundle.gating import may_exit
from ..curve import Judged, threshold_between

GRID = 65  # numbers of exits, and of images that the first SAC takes, that are tried


@dataclass(frozen=True)
class Split:
    """Images at eta or above exit; of the others those at `below` or above go to SAC `easy`, the rest to SAC `hard` (alphas).

    top1, mean_ms: on the images that it was fitted to.
    """

    eta: float
    below: float
    easy: float
    hard: float
    top1: float
    mean_ms: float

    @property
    def is_one(self) -> bool:
        """Whether one SAC takes all images."""
        return self.easy == self.hard


def splits_of(judged: Mapping[float, Judged], allow_two: bool) -> list[Split]:
    """Every split of a grid, on images whose answers all SACs gave; EE and its confidences are the same for all."""
    first = next(iter(judged.values()))
    order = np.argsort(-first.confidence, kind="stable")
    ordered, count = first.confidence[order], first.count
    ee = _sums(first.ee_right[order])
    sac = {alpha: _sums(one.sac_right[order]) for alpha, one in judged.items()}
    ee_ms = float(first.ee_ms.mean(dtype=np.float64))
    sac_ms = {alpha: float(one.sac_ms.mean(dtype=np.float64)) for alpha, one in judged.items()}
    places = np.unique(np.linspace(0, count, GRID).round().astype(int))
    found = []
    for easy, hard in product(judged, repeat=2):
        if easy == hard or allow_two:
            for exits in places.tolist():
                # One SAC for all has no second boundary.
                for upto in [count] if easy == hard else places[(places > exits) & (places < count)].tolist():
                    right = ee[exits] + sac[easy][upto] - sac[easy][exits] + sac[hard][count] - sac[hard][upto]
                    spent = ee_ms + ((upto - exits) * sac_ms[easy] + (count - upto) * sac_ms[hard]) / count
                    eta = threshold_between(ordered, exits)
                    below = 0.0 if easy == hard else threshold_between(ordered, upto)
                    found.append(Split(eta, below, easy, hard, float(right) / count, spent))
    return found


def fastest_with(splits: list[Split], top1: float) -> Split | None:
    """The fastest split that keeps this top-1."""
    good = [one for one in splits if one.top1 >= top1 - 1e-12]
    return min(good, key=lambda one: (one.mean_ms, -one.top1), default=None)


def most_accurate(splits: list[Split]) -> Split:
    """The highest top-1, and of equal ones the fastest."""
    return max(splits, key=lambda one: (one.top1, -one.mean_ms))


def answers_of(split: Split, judged: Mapping[float, Judged]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Of each image whether the split's answer is right, and its milliseconds."""
    first = judged[split.easy]
    exits = may_exit(first.confidence, split.eta)
    is_easy = first.confidence >= np.float32(split.below)
    right = np.where(is_easy, judged[split.easy].sac_right, judged[split.hard].sac_right)
    spent = np.where(is_easy, judged[split.easy].sac_ms, judged[split.hard].sac_ms)
    times = np.asarray(first.ee_ms + np.where(exits, 0.0, spent), np.float64)
    return np.where(exits, first.ee_right, right), times


def _sums(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(mask, dtype=np.int64)])
