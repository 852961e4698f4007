"""The part of tune.html on several SACs: the plane over alpha and eta, and whether two SACs by confidence beat one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...results.tune_further import Alphas
from ..drawable import Line
from ..figures import Point, trade_off
from ..tune_text import alpha_lines

SHARE_HEAD = ("alpha", "SAC's ms per pass", "SAC on every image, top-1 %", "95 %")
POINT_HEAD = (
    "",
    "alpha",
    "threshold",
    "top-1 %",
    "95 %",
    "exits %",
    "mean ms",
    "time",
    "95 %",
    "top-1, points",
    "95 %",
)
FRONT_HEAD = ("alpha", "threshold", "top-1 %", "95 %", "exits %", "mean ms")


def alpha_part(alphas: Alphas | None, batch: int) -> dict[str, Any] | None:
    """What the template draws; None where one SAC was tuned."""
    if alphas is None:
        return None
    curves = [
        Line(
            f"alpha {share['alpha']:g}{' (the bundle)' if share['alpha'] == alphas['own'] else ''}",
            [1e3 * batch / one["mean_ms"] for one in share["curve"]],
            [100 * one["top1"] for one in share["curve"]],
            colour=place,
        )
        for place, share in enumerate(alphas["shares"])
    ]
    points = []
    for name, two in alphas["by_confidence"].items():
        at = two["report"]
        text = f"{name}, two SACs: alpha {two['hard']:g} below {two['below']:.2f}, {two['easy']:g} above"
        if two["hard"] != two["easy"]:
            speed = 1e3 * batch / at["mean_ms"]
            points.append(Point(text, speed, 100 * at["top1"], 100 * at["low"], 100 * at["high"], len(curves)))
    caption = (
        "Each curve is one alpha over every threshold, on the report split; points: two SACs by confidence, with 95 %"
    )
    return {
        "lines": alpha_lines(alphas),
        "figure": (
            caption,
            trade_off(
                "Accuracy against speed, by alpha",
                curves,
                points,
                "images per second",
                "top-1 %",
                "mean ms per pass",
                lambda speed: f"{1e3 * batch / speed:.3g}" if speed > 0 else "",
            ),
        ),
        "points": (POINT_HEAD, [_point(name, one) for name, one in alphas["points"].items()]),
        "shares": (SHARE_HEAD, [_share(one) for one in alphas["shares"]]),
        "front": (FRONT_HEAD, [_front(one) for one in alphas["front"]]),
    }


def _point(name: str, one: Any) -> tuple[str, ...]:
    at, apart = one["report"], one["against_own"]
    return (
        name,
        f"{one['alpha']:g}",
        f"{one['eta']:g}",
        f"{100 * at['top1']:.2f}",
        _ends(one["intervals"]["top1"], "{:.2f}"),
        f"{100 * at['exit_rate']:.1f}",
        f"{at['mean_ms']:.3f}",
        f"{100 * apart['time'][0]:+.1f} %",
        _ends(apart["time"][1:], "{:+.1f}"),
        f"{100 * apart['top1'][0]:+.2f}",
        _ends(apart["top1"][1:], "{:+.2f}"),
    )


def _share(one: Any) -> tuple[str, ...]:
    return (
        f"{one['alpha']:g}",
        f"{one['sac_ms']:.3f}",
        f"{100 * one['top1']:.2f}",
        _ends((one["low"], one["high"]), "{:.2f}"),
    )


def _front(one: Any) -> tuple[str, ...]:
    return (
        f"{one['alpha']:g}",
        f"{one['eta']:g}",
        f"{100 * one['top1']:.2f}",
        _ends((one["low"], one["high"]), "{:.2f}"),
        f"{100 * one['exit_rate']:.1f}",
        f"{one['mean_ms']:.3f}",
    )


def _ends(ends: Sequence[float], shown: str) -> str:
    return f"{shown.format(100 * ends[0])} to {shown.format(100 * ends[1])}"
