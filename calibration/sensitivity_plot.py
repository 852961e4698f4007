"""The sensitivity table as a picture: one line per kind of layer, block by block."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..bundle.figure_style import LIGHT, MATPLOTLIB, SERIES
from ..bundle.files import written_whole
from .sensitivity import Effect

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IN_BLOCK = re.compile(r"blocks\.(\d+)(?:\.\w+)?\.?(\w*)$")
LOWEST, HIGHEST = 1e-9, 1e6  # where a logarithmic axis ends: no error at all, and NaN
KINDS = dict(zip(("qkv", "proj", "fc1", "fc2"), SERIES, strict=False)) | {"": SERIES[0]}


def draw_sensitivity(path: Path, effects: Sequence[Effect], title: str) -> None:
    """Writes a PNG with a panel per stage: mean logit error of each layer changed alone."""
    from matplotlib import style

    with style.context(["default", MATPLOTLIB | {"font.size": 9}]), written_whole(path) as partial:
        _draw(effects, title).savefig(partial, dpi=110, format="png")


def _draw(effects: Sequence[Effect], title: str) -> Figure:
    from matplotlib.figure import Figure

    stages = list(dict.fromkeys(effect.stage for effect in effects))
    figure = Figure(figsize=(5.5 * len(stages), 4.2), layout="constrained")
    panels = figure.subplots(1, len(stages), sharey=True, squeeze=False)[0]
    for panel, stage in zip(panels, stages, strict=True):
        mine = [effect for effect in effects if effect.stage == stage]
        lines: dict[str, list[tuple[int, float]]] = {}
        outside = []
        for effect in mine:
            height = float(np.clip(np.nan_to_num(effect.mean_error, nan=HIGHEST), LOWEST, HIGHEST))
            found = IN_BLOCK.match(effect.layer)
            if found:
                lines.setdefault(found[2], []).append((int(found[1]), height))
            else:
                outside.append((effect.layer, height))
        for kind, points in sorted(lines.items(), key=lambda entry: list(KINDS).index(entry[0])):
            blocks, errors = zip(*sorted(points), strict=True)
            panel.plot(blocks, errors, "o-", ms=4, lw=1.2, color=KINDS[kind], label=kind or "whole block")
        for place, (_, height) in enumerate(outside):
            panel.plot(-1 - place, height, "s", ms=6, color=LIGHT["muted"])
        last = max((block for points in lines.values() for block, _ in points), default=0)
        ticks = [*range(-len(outside), 0), *range(0, last + 1)]
        names = [layer for layer, _ in reversed(outside)] + [str(block) for block in range(last + 1)]
        panel.set_xticks(ticks, names)
        for label, tick in zip(panel.get_xticklabels(), ticks, strict=True):
            if tick < 0:
                label.set(rotation=35, ha="right")
        panel.set(title=stage, xlabel="block", yscale="log")
        panel.yaxis.set_major_formatter("{x:g}")  # matplotlib's own labels of powers are formulas
    panels[0].set_ylabel("mean logit error, this layer alone")
    if panels[-1].get_legend_handles_labels()[0]:
        panels[-1].legend()
    figure.suptitle(title)
    return figure
