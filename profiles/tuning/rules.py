"""The rule that a user's options ask for, and what is said where no eta keeps it."""

from __future__ import annotations

import numpy as np

from ...bundle.errors import UsageError
from .curve import POINTS, Curve, Rule, cheapest_with, fastest_within, with_exit_rate


def rule_of(
    point: str | None, min_top1: float | None, max_ms: float | None, exit_rate: float | None
) -> tuple[str, Rule] | None:
    """The rule that options ask for, with its name. min_top1: percent. Raises UsageError for numbers that cannot be."""
    if point is not None:
        return point, POINTS[point]
    if min_top1 is not None:
        if not 0 <= min_top1 <= 100:
            raise UsageError(f"--min-top1 {min_top1:g}: give percent, 0 to 100")
        return f"top-1 of {min_top1:g} %", cheapest_with(min_top1 / 100)
    if max_ms is not None:
        if not 0 < max_ms < float("inf"):
            raise UsageError(f"--max-ms {max_ms:g}: give a time above 0")
        return f"mean of {max_ms:g} ms", fastest_within(max_ms)
    if exit_rate is not None:
        if not 0 <= exit_rate <= 1:
            raise UsageError(f"--exit-rate {exit_rate:g}: give a share, 0 to 1")
        return f"exit rate of {exit_rate:g}", with_exit_rate(exit_rate)
    return None


def unreachable(name: str, curve: Curve) -> str:
    """What no eta reaches, and the best that can be had."""
    best = int(np.argmax(curve.top1))
    return (
        f"no eta gives a {name} on the images that it is fitted on. The best that can be had: top-1"
        f" {100 * curve.top1[best]:.2f} % at eta {curve.eta(best):g} ({curve.mean_ms[best]:.3g} ms), or"
        f" {curve.mean_ms.min():.3g} ms at top-1 {100 * curve.top1[int(curve.mean_ms.argmin())]:.2f} %."
        f" The answers stay: call it without a rule to see the whole curve"
    )
