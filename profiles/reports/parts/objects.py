"""The part of tune.html on boxed objects: how much of them lies inside the target blocks, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...results.tune_further import Interval, ObjectBin, Objects
from ..drawable import Line
from ..figures import lines
from ..svg import PHONE
from ..tune_text import object_line

FOUND, EE, SAC, GREY = 0, 1, 2, 5  # colours
HEAD = ("share inside the targets", "images", "EE right %", "95 %", "SAC right %", "95 %")
MISSED_HEAD = ("image", "share inside the targets", "EE's confidence", "EE", "SAC")


def object_part(objects: Objects | None) -> dict[str, Any] | None:
    """What the template draws; None without boxes, or where no box is in view."""
    if objects is None or objects["share"] is None or not objects["by_confidence"]:
        return None
    bins, share = objects["by_confidence"], objects["share"]
    places = [one["confidence"] for one in bins]
    inside = "Share of the object inside the targets against EE's confidence"
    accuracy = "Top-1 of both stages on the same images"
    return {
        "text": object_line(objects),
        "figures": [
            (
                f"{inside}; error bars: 95 %",
                lines(
                    inside,
                    [
                        _line("attention's targets", places, [one["share"] for one in bins], FOUND),
                        Line("best possible", [places[0], places[-1]], [100 * share["best"]] * 2, ":", GREY),
                        Line("blocks at random", [places[0], places[-1]], [100 * share["chance"]] * 2, "--", GREY),
                    ],
                    "EE's confidence",
                    "% of the object's area",
                    sizes=PHONE,
                ),
            ),
            (
                f"{accuracy}; error bars: 95 %",
                lines(
                    accuracy,
                    [
                        _line("SAC", places, [one["sac_top1"] for one in bins], SAC),
                        _line("EE", places, [one["ee_top1"] for one in bins], EE),
                    ],
                    "EE's confidence",
                    "top-1 %",
                    sizes=PHONE,
                ),
            ),
        ],
        "table": (
            HEAD,
            [_row(f"{100 * one['least']:g} to {100 * one['most']:g} %", one) for one in objects["by_share"]],
        ),
        "missed": (
            MISSED_HEAD,
            [
                (
                    one["image"],
                    f"{100 * one['share']:.0f} %",
                    f"{one['confidence']:.2f}",
                    *("right" if one[stage] else "wrong" for stage in ("ee_right", "sac_right")),
                )
                for one in objects["missed"]
            ],
        ),
    }


def _line(name: str, places: Sequence[float], values: Sequence[Interval], colour: int) -> Line:
    half = [50 * (one["high"] - one["low"]) for one in values]
    # Wilson's interval is not centred on the share: the bar is, so near 0 and 100 % it is drawn a little off.
    return Line(name, places, [100 * one["value"] for one in values], "-", colour, half)


def _row(name: str, one: ObjectBin) -> tuple[str, ...]:
    cells = []
    for stage in (one["ee_top1"], one["sac_top1"]):
        cells += [f"{100 * stage['value']:.1f}", f"{100 * stage['low']:.1f} to {100 * stage['high']:.1f}"]
    return name, str(one["images"]), *cells
