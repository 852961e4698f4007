"""The sensitivity table as a picture: one line per kind of layer, block by block."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..bundle.figure_style import LIGHT, MATPLOTLIB, SERIES
from ..bundle.files import written_whole
from ..model.config import MAX_LEVELS
from .sensitivity import Effect

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IN_BLOCK = re.compile(r"(?:patch_embed\.levels\.(\d+)\.)?blocks\.(\d+)(?:\.\w+)?\.?(\w*)$")
LAST_LEVEL = MAX_LEVELS  # stands behind those that are numbered
LOWEST, HIGHEST = 1e-9, 1e6  # where a logarithmic axis ends: no error at all, and NaN
KINDS = dict(zip(("qkv", "proj", "fc1", "fc2"), SERIES, strict=False)) | {"": SERIES[0]}


def draw_sensitivity(path: Path, effects: Sequence[Effect], title: str) -> None:
    """Writes a PNG with a panel per stage: mean logit error of each layer changed alone."""
    from matplotlib import style

    with style.context(["default", MATPLOTLIB | {"font.size": 9}]), written_whole(path) as partial:
        _draw(effects, title).savefig(partial, dpi=110, format="png")


def _draw(effects: Sequence[Effect], title: str) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogFormatter

    stages = list(dict.fromkeys(effect.stage for effect in effects))
    figure = Figure(figsize=(5.5 * len(stages), 4.2), layout="constrained")
    panels = figure.subplots(1, len(stages), sharey=True, squeeze=False)[0]
    for panel, stage in zip(panels, stages, strict=True):
        mine = [effect for effect in effects if effect.stage == stage]
        lines: dict[str, list[tuple[tuple[int, int], float]]] = {}  # by kind: level and block, and the error
        outside = []
        for effect in mine:
            height = float(np.clip(np.nan_to_num(effect.mean_error, nan=HIGHEST), LOWEST, HIGHEST))
            found = IN_BLOCK.match(effect.layer)
            if found:
                place = (LAST_LEVEL if found[1] is None else int(found[1]), int(found[2]))
                lines.setdefault(found[3], []).append((place, height))
            else:
                outside.append((effect.layer, height))
        order = sorted({place for points in lines.values() for place, _ in points})
        for kind, points in sorted(lines.items(), key=lambda entry: list(KINDS).index(entry[0])):
            places, errors = zip(*sorted(points), strict=True)
            panel.plot(
                [order.index(place) for place in places],
                errors,
                "o-",
                ms=4,
                lw=1.2,
                color=KINDS[kind],
                label=kind or "whole block",
            )
        for number, (_, height) in enumerate(outside):
            panel.plot(-1 - number, height, "s", ms=6, color=LIGHT["muted"])
        ticks = range(-len(outside), len(order))
        names = [layer for layer, _ in reversed(outside)]
        names += [str(block) if level == LAST_LEVEL else f"{level}.{block}" for level, block in order]
        panel.set_xticks(ticks, names)
        for label, tick in zip(panel.get_xticklabels(), ticks, strict=True):
            if tick < 0:
                label.set(rotation=35, ha="right")
        has_levels = any(level != LAST_LEVEL for level, _ in order)
        panel.set(title=stage, xlabel="block; 0.1: block 1 of level 0" if has_levels else "block", yscale="log")
        panel.yaxis.set_major_formatter("{x:g}")  # matplotlib's own labels of powers are formulas
        panel.yaxis.set_minor_formatter(LogFormatter())  # of less than a decade; it decides how many are labelled
    panels[0].set_ylabel("mean logit error, this layer alone")
    if panels[-1].get_legend_handles_labels()[0]:
        panels[-1].legend()
    figure.suptitle(title)
    return figure
