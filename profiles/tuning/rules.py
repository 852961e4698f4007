"""The rule that a user's options choose, and the message where no eta keeps it."""

from __future__ import annotations

from typing import Literal

import numpy as np

from .curve import ALLOWED_LOSS, POINTS, Curve, Rule, cheapest_with, fastest_within, with_exit_rate
from .request import TuneRequest

Goal = Literal["time", "top-1"]


def rule_of(request: TuneRequest) -> tuple[str, Rule] | None:
    """The rule that the options choose, with its name; None without a rule."""
    if request.point is not None:
        return request.point, POINTS[request.point]
    if request.min_top1 is not None:
        return f"top-1 of {request.min_top1:g} %", cheapest_with(request.min_top1 / 100)
    if request.max_ms is not None:
        return f"mean of {request.max_ms:g} ms", fastest_within(request.max_ms)
    if request.exit_rate is not None:
        return f"exit rate of {request.exit_rate:g}", with_exit_rate(request.exit_rate)
    return None


def goal_of(name: str) -> Goal:
    """What is best among the alphas that keep the rule of this name: rules of accuracy leave the time open, others top-1."""
    return "time" if name in ALLOWED_LOSS or name.startswith("top-1") else "top-1"


def unreachable(name: str, curve: Curve) -> str:
    """The message for a goal that no eta reaches, with the best that can be reached."""
    best = int(np.argmax(curve.top1))
    return (
        f"no threshold gives a {name} on the fitting images. Best reachable: top-1"
        f" {100 * curve.top1[best]:.2f} % at eta {curve.eta(best):g} ({curve.mean_ms[best]:.3g} ms), or"
        f" {curve.mean_ms.min():.3g} ms at top-1 {100 * curve.top1[int(curve.mean_ms.argmin())]:.2f} %."
        f" The stored answers are kept: run the command without a rule to see the whole curve"
    )
