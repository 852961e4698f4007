"""Compares the SACs of a bundle: the plane over alpha and eta, the best of both for each rule, and two SACs by confidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ....bundle.errors import GuardError
from ....bundle.gating import may_exit
from ....bundle.manifest import SacUse
from ..curve import ALLOWED_LOSS, Curve, Judged, Promise, Rule, draw_curve, judge_at, promise_of
from ..loss_bound import images_needed, loss_bound
from ..operating_points import draw_points, rounded
from ..resampling import intervals
from ..rules import Goal, goal_of, unreachable
from .by_confidence import Split, answers_of, fastest_with, most_accurate, splits_of
from .measure import Times

MOST_ON_FRONT = 12


@dataclass(frozen=True)
class Choice:
    """The gate of a rule: its threshold, and the SACs for the images that go on, as the manifest has them."""

    eta: float
    sacs: list[SacUse]
    promise: dict[str, Any] | None
    report: dict[str, Any]


@dataclass(frozen=True)
class Compared:
    """result: for tune.json; choices: by rule, without a rule that no alpha keeps; own: the curve of the own alpha."""

    result: dict[str, Any]
    choices: dict[str, Choice]
    own: Curve

    def choice_of(self, name: str) -> Choice:
        """Raises GuardError for a rule that no alpha keeps: times by turns may differ from those of the answers' passes."""
        if name not in self.choices:
            raise GuardError(unreachable(name, self.own))
        return self.choices[name]


def timed(judged: Judged, ee_ms: float, sac_ms: float) -> Judged:
    """The same answers with the times that were measured by turns: each SAC's own answers were timed at another moment."""
    return replace(
        judged,
        ee_ms=np.full(judged.count, ee_ms, np.float32),
        sac_ms=np.full(judged.count, sac_ms, np.float32),
    )


def compare_alphas(
    own: float,
    fit: Mapping[float, Judged],
    rest: Mapping[float, Judged],
    times: Times,
    rules: Mapping[str, Rule],
) -> Compared:
    """fit, rest: the images that are fitted on and those that are reported on, by alpha. own: the bundle's alpha.

    A loss is one against the bundle's own SAC on every image. With K alphas each is tested at 5 % / K, so that a promise holds
    for the one that is chosen.
    """
    fit, rest = (
        {alpha: timed(half[alpha], times.ee_ms, times.sac_ms[alpha]) for alpha in sorted(half)} for half in (fit, rest)
    )
    curves = {alpha: draw_curve(one, fit[own].sac_right, len(fit)) for alpha, one in fit.items()}
    points, two, choices = {}, {}, {}
    pairs, singles = splits_of(fit, allow_two=True), splits_of(fit, allow_two=False)
    for name, rule in rules.items():
        best = best_of(curves, rule, goal_of(name), ALLOWED_LOSS.get(name))
        if best is None:
            continue
        alpha, place = best
        own_place = rule(draw_curve(fit[own]))
        own_eta = curves[own].eta(own_place) if own_place is not None else 1.0
        points[name] = describe_choice(curves[alpha], place, alpha, rest, own, own_eta, ALLOWED_LOSS.get(name))
        uses = [] if alpha == own else [SacUse(alpha, 1.0)]
        choices[name] = Choice(points[name]["eta"], uses, points[name]["promise"], points[name]["report"])
        if name in ALLOWED_LOSS or name == "accurate":
            least = float(fit[own].sac_right.mean()) - ALLOWED_LOSS[name] if name in ALLOWED_LOSS else None
            found = split_by_confidence(pairs, singles, least, rest, own, ALLOWED_LOSS.get(name))
            if found is not None:
                two[name] = found[0]
                choices[name] = found[1] or choices[name]
    return Compared(
        {
            "own": own,
            "ee_ms": round(times.ee_ms, 6),
            "shares": [describe_share(alpha, rest[alpha], times.sac_ms[alpha]) for alpha in rest],
            "points": points,
            "by_confidence": two,
            "front": front_of(singles, rest),
        },
        choices,
        curves[own],
    )


def best_of(curves: Mapping[float, Curve], rule: Rule, goal: Goal, allowed: float | None) -> tuple[float, int] | None:
    """The alpha and the place on its curve that serve the goal best among those that keep the rule; None where none does.

    A loss that can be promised goes before one that cannot.
    """
    found = []
    for alpha, curve in curves.items():
        place = rule(curve)
        if place is not None:
            is_kept = allowed is None or promise_of(curve, place, allowed).is_kept
            speed, accuracy = -float(curve.mean_ms[place]), float(curve.top1[place])
            worth = (speed, accuracy) if goal == "time" else (accuracy, speed)
            found.append(((is_kept, *worth), alpha, place))
    return None if not found else max(found)[1:]


def describe_choice(
    curve: Curve,
    place: int,
    alpha: float,
    rest: Mapping[float, Judged],
    own: float,
    own_eta: float,
    allowed: float | None,
) -> dict[str, Any]:
    """The best alpha and eta of a rule on the report split, and how they differ there from the best eta of the own alpha."""
    eta = curve.eta(place)
    at = judge_at(rest[alpha], eta)
    mine = answers_of(Split(eta, 0.0, alpha, alpha, 0, 0), rest)
    base = answers_of(Split(own_eta, 0.0, own, own, 0, 0), rest)
    return {
        "alpha": alpha,
        "eta": eta,
        "report": rounded(at, None),
        "intervals": {"top1": _ends(intervals({"x": mine[0]})["x"])},
        "promise": None if allowed is None else asdict(promise_of(curve, place, allowed)),
        "own_eta": own_eta,
        "against_own": differences(mine, base),
    }


Answered = tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]


def differences(mine: Answered, base: Answered) -> dict[str, list[float]]:
    """Of top-1 in [0, 1], and of the mean time as a share of the base's: value and the ends of the paired 95 % interval."""
    columns = {"top1": mine[0].astype(np.float64) - base[0], "time": mine[1] - base[1]}
    scale = {"top1": 1.0, "time": float(base[1].mean())}
    ends = intervals(columns)
    return {
        name: [round(float(value) / scale[name], 6) for value in (columns[name].mean(), *ends[name])]
        for name in columns
    }


def split_by_confidence(
    pairs: list[Split],
    singles: list[Split],
    least: float | None,
    rest: Mapping[float, Judged],
    own: float,
    allowed: float | None,
) -> tuple[dict[str, Any], Choice | None] | None:
    """The best two SACs by confidence against the best one, both fitted in the same way and compared on the report split.

    pairs, singles: all splits of the fitted images with two SACs and with one. least: the top-1 to keep there; None takes the
    highest. Also the gate, where the two are better on the report split in one of time and top-1 beyond chance and no worse in
    the other, and lose no more than is allowed, by a bound on that split.
    """
    best, single = (most_accurate(all_) if least is None else fastest_with(all_, least) for all_ in (pairs, singles))
    if best is None or single is None:
        return None
    mine, base = answers_of(best, rest), answers_of(single, rest)
    apart = differences(mine, base)
    beats = not best.is_one and (
        (apart["time"][2] < 0 <= apart["top1"][0]) or (apart["top1"][1] > 0 >= apart["time"][0])
    )
    described: dict[str, Any] = {
        "hard": best.hard,
        "easy": best.easy,
        "below": best.below,
        "eta": best.eta,
        "one": {"alpha": single.easy, "eta": single.eta},
        "report": _report_of(mine, rest[own], best.eta),
        "against_one": apart,
        "beats": bool(beats),
    }
    reference = rest[own].sac_right
    lost, won = int((reference & ~mine[0]).sum()), int((mine[0] & ~reference).sum())
    bound = loss_bound(lost, won, len(reference))
    if not beats or (allowed is not None and bound > allowed):
        return described, None
    promise = None if allowed is None else asdict(Promise(allowed, bound, True, len(reference), images_needed(allowed)))
    uses = [
        SacUse(None if alpha == own else alpha, below) for alpha, below in ((best.hard, best.below), (best.easy, 1.0))
    ]
    return described, Choice(best.eta, uses, promise, described["report"])


def _report_of(mine: Answered, own: Judged, eta: float) -> dict[str, Any]:
    low, high = intervals({"x": mine[0]})["x"]
    return {
        "top1": round(float(mine[0].mean()), 6),
        "low": round(low, 6),
        "high": round(high, 6),
        "mean_ms": round(float(mine[1].mean()), 6),
        "exit_rate": round(float(may_exit(own.confidence, eta).mean()), 6),
    }


def describe_share(alpha: float, rest: Judged, sac_ms: float) -> dict[str, Any]:
    """One alpha: SAC on every image, and the curve over eta, on the report split."""
    low, high = intervals({"x": rest.sac_right})["x"]
    return {
        "alpha": alpha,
        "sac_ms": round(sac_ms, 6),
        "top1": round(float(rest.sac_right.mean()), 6),
        "low": round(low, 6),
        "high": round(high, 6),
        "curve": [
            {name: point[name] for name in ("eta", "exit_rate", "top1", "mean_ms")}
            for point in draw_points(rest, draw_curve(rest), None)
        ],
    }


def front_of(singles: list[Split], rest: Mapping[float, Judged]) -> list[dict[str, Any]]:
    """Pairs of alpha and eta that no other one beats in time and top-1 on the fit split, with their results on the other."""
    front: list[Split] = []
    for one in sorted(singles, key=lambda one: (one.mean_ms, -one.top1)):
        if not front or one.top1 > front[-1].top1:
            front.append(one)
    chosen = np.unique(np.linspace(0, len(front) - 1, MOST_ON_FRONT).round().astype(int))
    return [
        {"alpha": one.easy, "eta": one.eta, **_report_of(answers_of(one, rest), rest[one.easy], one.eta)}
        for one in (front[int(place)] for place in chosen)
    ]


def _ends(pair: tuple[float, float]) -> list[float]:
    return [round(end, 6) for end in pair]
