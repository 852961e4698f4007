"""The figure of top-1 against images per second, of one run of sacvit-tune or of several."""

from __future__ import annotations

from collections.abc import Sequence

from ...results.tune_points import Drawn
from ...results.tune_points import Point as OperatingPoint
from ...results.tune_shape import Tune
from ..drawable import Line
from ..figures import Point, trade_off
from ..tune_text import images_per_s, main_point

FIT_COLOUR = 5  # grey, for secondary curves


def draw_trade_off(runs: Sequence[tuple[str, Tune]]) -> tuple[str, str]:
    """Top-1 against images per second: a caption and its SVG.

    One run has all its points and the fit split's curve, several have one curve each and the point that each chose.
    """
    curves: list[Line] = []
    points: list[Point] = []
    for place, (name, result) in enumerate(runs):
        is_alone = len(runs) == 1
        curves.append(
            _curve(name or "every threshold, on the report split", result, result["curves"]["report"], "-", place)
        )
        if is_alone:
            curves.append(_curve("the same on the fit split", result, result["curves"]["fit"], ":", FIT_COLOUR))
        for label, one in (
            _different(result) if is_alone else [(main_point(result), result["points"][main_point(result)])]
        ):
            at, (low, high) = one["report"], one["intervals"]["top1"]
            text = f"{name} {label}: threshold {one['eta']:g}, {100 * at['top1']:.1f} %".strip()
            speed, colour = images_per_s(result, at["mean_ms"]), len(points) + 1 if is_alone else place
            points.append(Point(text, speed, 100 * at["top1"], 100 * low, 100 * high, colour))
        if result["plain"] is not None and result["plain"]["top1"] is not None:
            speed, top1 = images_per_s(result, result["plain"]["mean_ms"]), 100 * result["plain"]["top1"]
            text = f"{name} plain ViT: {top1:.1f} %, {speed:.3g} images/s".strip()
            points.append(Point(text, speed, top1, top1, top1, FIT_COLOUR if is_alone else place))
    batches = {result["batch"] for _, result in runs}

    def ms_at(speed: float) -> str:
        return f"{1e3 * min(batches) / speed:.3g}" if len(batches) == 1 and speed > 0 else ""

    caption = "Top-1 over speed: from SAC on every image (left) to EE on every image (right); error bars: 95 %"
    top_label = "mean ms per pass" if len(batches) == 1 else ""
    return caption, trade_off(
        "Accuracy against speed", curves, points, "images per second", "top-1 %", top_label, ms_at
    )


def _different(result: Tune) -> list[tuple[str, OperatingPoint]]:
    """The operating points. Those with the same threshold are drawn as one with all names, since they would hide each other."""
    names: dict[float, list[str]] = {}
    for name, one in result["points"].items():
        names.setdefault(one["eta"], []).append(name)
    return [(", ".join(same), result["points"][same[0]]) for same in names.values()]


def _curve(name: str, result: Tune, drawn: Sequence[Drawn], style: str, colour: int) -> Line:
    speeds = [images_per_s(result, one["mean_ms"]) for one in drawn]
    return Line(name, speeds, [100 * one["top1"] for one in drawn], style, colour)
