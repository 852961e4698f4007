"""Accuracy, exits and time at all etas at once, from both stages' answers; and the eta that a rule chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...bundle.gating import may_exit
from ...calibration.threshold import round_inside
from ...runtime.percentiles import percentile
from .loss_bound import images_needed, leading_promises, loss_bound

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Judged:
    """The data of each image: EE's confidence, whether each stage is right (top-1 and top-5), and the times."""

    confidence: npt.NDArray[np.float32]
    ee_right: Bools
    sac_right: Bools
    ee_top5: Bools
    sac_top5: Bools
    ee_ms: npt.NDArray[np.float32]
    sac_ms: npt.NDArray[np.float32]

    @property
    def count(self) -> int:
        return len(self.confidence)

    def of(self, chosen: npt.NDArray[np.intp] | Bools) -> Judged:
        return Judged(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Curve:
    """The curve by number of images that exit, rising. Where confidences are equal, some numbers are missing.

    exits: (K,) counts; lost, won: (K,) images that only the reference has right, and only the chain; top1, top5: (K,) in
    [0, 1]; mean_ms: (K,). The reference is SAC on every image. Sorted confidences are kept for `eta`.
    """

    exits: npt.NDArray[np.intp]
    lost: npt.NDArray[np.int64]
    won: npt.NDArray[np.int64]
    top1: Floats
    top5: Floats
    mean_ms: Floats
    ordered: npt.NDArray[np.float32]
    sac_top1: float  # of the reference
    tests: int = 1  # curves that a rule chooses among: a promise is one about all of them

    @property
    def count(self) -> int:
        return len(self.ordered)

    @property
    def exit_rate(self) -> Floats:
        return self.exits / self.count

    def eta(self, place: int) -> float:
        """A short threshold in [0, 1] at which exactly `exits[place]` images leave; 1 may let some more go."""
        return threshold_between(self.ordered, int(self.exits[place]))


def threshold_between(ordered: npt.NDArray[np.float32], count: int) -> float:
    """A short threshold in [0, 1] between the first `count` confidences, which fall, and the others."""
    below = float(ordered[count]) if count < len(ordered) else -1.0
    above = float(ordered[count - 1]) if count else 1 + float(np.spacing(np.float32(1)))
    return float(np.clip(round_inside(below, above), 0, 1))


def draw_curve(judged: Judged, reference: Bools | None = None, tests: int = 1) -> Curve:
    """The curve over every count of exits that some eta gives; the most confident images exit first.

    reference: of each image whether the SAC is right that losses count against, where it is another one than the chain's.
    """
    reference = judged.sac_right if reference is None else reference
    order = np.argsort(-judged.confidence, kind="stable")
    ordered, count = judged.confidence[order], judged.count

    def chained(ee: npt.NDArray[np.generic], sac: npt.NDArray[np.generic]) -> Floats:
        """Sums over the first k images by EE and the others by SAC, for k = 0 .. n."""
        first = np.concatenate([[0.0], np.cumsum(ee[order], dtype=np.float64)])
        second = np.concatenate([[0.0], np.cumsum(sac[order], dtype=np.float64)])
        return np.asarray(first + second[-1] - second)

    def counted(exits: Bools, others: Bools) -> npt.NDArray[np.int64]:
        """Of the first k images by one mask and of the others by another."""
        first, second = (np.concatenate([[0], np.cumsum(mask[order], dtype=np.int64)]) for mask in (exits, others))
        return np.asarray(first + second[-1] - second)

    possible = np.concatenate([[True], ordered[:-1] > ordered[1:], [True]])
    if count and ordered[0] >= 1:
        possible[0] = False  # eta is 1 at most, and equality exits
    exits = np.flatnonzero(possible)
    top1 = chained(judged.ee_right, judged.sac_right) / count
    top5 = chained(judged.ee_top5, judged.sac_top5) / count
    mean_ms = judged.ee_ms.mean(dtype=np.float64) + chained(np.zeros(count), judged.sac_ms) / count
    lost = counted(reference & ~judged.ee_right, reference & ~judged.sac_right)[exits]
    won = counted(judged.ee_right & ~reference, judged.sac_right & ~reference)[exits]
    return Curve(exits, lost, won, top1[exits], top5[exits], mean_ms[exits], ordered, float(reference.mean()), tests)


Rule = Callable[[Curve], int | None]  # a place on the curve, or None where no eta keeps the rule


def most_accurate(curve: Curve) -> int:
    """The highest top-1, and of equal ones the one with the most exits."""
    return len(curve.top1) - 1 - int(np.argmax(curve.top1[::-1]))


def cheapest_with(top1: float) -> Rule:
    """The most exits that keep this top-1, in [0, 1]."""

    def rule(curve: Curve) -> int | None:
        good = np.flatnonzero(curve.top1 >= top1 - 1e-12)
        return int(good[-1]) if len(good) else None

    return rule


def promising(loss: float) -> Rule:
    """The most exits that lose at most `loss` of top-1 against SAC on every image, on new images too: see `promise`.

    None where not even one exit can be promised.
    """

    def rule(curve: Curve) -> int | None:
        # Without exits nothing is lost: such a promise is useless.
        nobody = int(curve.exits[0] == 0)
        kept = leading_promises(curve.lost[nobody:], curve.won[nobody:], curve.count, loss, curve.tests)
        return nobody + kept - 1 if kept else None

    return rule


def losing_at_most(loss: float) -> Rule:
    """The result of `promising`, otherwise the most exits that lose at most `loss` on the curve's own images."""

    def rule(curve: Curve) -> int | None:
        place = promising(loss)(curve)
        return cheapest_with(curve.sac_top1 - loss)(curve) if place is None else place

    return rule


def fastest_within(mean_ms: float) -> Rule:
    """The highest top-1 at a mean time of at most this."""

    def rule(curve: Curve) -> int | None:
        good = np.flatnonzero(curve.mean_ms <= mean_ms + 1e-9)
        return None if not len(good) else int(good[len(good) - 1 - int(np.argmax(curve.top1[good][::-1]))])

    return rule


def with_exit_rate(rate: float) -> Rule:
    """The nearest share of exits that some eta gives."""
    return lambda curve: int(np.abs(curve.exit_rate - rate).argmin())


ALLOWED_LOSS: Mapping[str, float] = {"fast": 0.02, "balanced": 0.005}  # of top-1, against SAC on every image
POINTS: Mapping[str, Rule] = {
    **{name: losing_at_most(loss) for name, loss in ALLOWED_LOSS.items()},
    "accurate": most_accurate,
}


@dataclass(frozen=True)
class Promise:
    """The loss that a point is allowed, and the bound for new images. Shares of images.

    at_most: new images lose more in one case of twenty. is_kept: False where not one exit could be promised, and the point
    keeps to `allowed` on its own images only. images, needed: the number that it was fitted on, and the smallest number that
    allows a promise.
    """

    allowed: float
    at_most: float
    is_kept: bool
    images: int
    needed: int


def promise_of(curve: Curve, place: int, allowed: float) -> Promise:
    bound = (
        loss_bound(int(curve.lost[place]), int(curve.won[place]), curve.count, curve.tests)
        if curve.exits[place]
        else 0.0
    )
    return Promise(allowed, bound, promising(allowed)(curve) == place, curve.count, images_needed(allowed, curve.tests))


@dataclass(frozen=True)
class AtEta:
    """The effect of a threshold on some images. Shares in [0, 1]; gate: the gate's confusion.

    Sent on in vain: EE was right already, or SAC is wrong too. Rescued: SAC is right where EE was not. Broken by SAC: of those
    sent on in vain, where EE was right and SAC is not.
    """

    top1: float
    top5: float
    exit_rate: float
    mean_ms: float
    p99_ms: float
    gate: Mapping[str, float]


def judge_at(judged: Judged, eta: float) -> AtEta:
    exits = may_exit(judged.confidence, eta)
    right = np.where(exits, judged.ee_right, judged.sac_right)
    times = judged.ee_ms + np.where(exits, 0, judged.sac_ms)
    rescued = ~exits & judged.sac_right & ~judged.ee_right
    gate = {
        "exited right": exits & judged.ee_right,
        "exited wrong": exits & ~judged.ee_right,
        "sent on in vain": ~exits & ~rescued,
        "rescued": rescued,
        "broken by SAC": ~exits & judged.ee_right & ~judged.sac_right,
    }
    return AtEta(
        top1=float(right.mean()),
        top5=float(np.where(exits, judged.ee_top5, judged.sac_top5).mean()),
        exit_rate=float(exits.mean()),
        mean_ms=float(times.mean(dtype=np.float64)),
        p99_ms=float(percentile(times.tolist(), 99)),
        gate={name: float(mask.mean()) for name, mask in gate.items()},
    )
