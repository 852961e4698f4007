"""The figures of docs/where-clustering-fails.md, in the look of the project's pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

from sacvit.bundle.figure_style import LIGHT, MARKERS, MATPLOTLIB, SERIES

mpl.use("agg")
import matplotlib.pyplot as plt
from matplotlib import style

BLUE, ORANGE, GREEN, PURPLE, YELLOW, GREY = SERIES
DPI = 120
STAGES = (
    ("EE", "EE alone", GREY),
    ("SAC, random", "SAC, random targets", YELLOW),
    ("SAC, attention", "SAC, attention's targets", BLUE),
    ("SAC, leave-one-out", "SAC, targets by uncertainty", PURPLE),
    ("SAC, oracle", "SAC, targets from the mask", GREEN),
)
PARTS = (
    ("both", "both", BLUE),
    ("attention only", "attention only", GREEN),
    ("this rule only", "uncertainty only", ORANGE),
    ("neither", "neither", GREY),
)


def draw_shares(numbers: dict[str, Any], path: Path) -> None:
    """A panel for each kind: the share inside the targets over EE's confidence, and both stages' accuracy."""
    with style.context(["default", MATPLOTLIB]):
        figure, panels = plt.subplots(2, 3, figsize=(10, 6.2), layout="constrained", sharex=True, sharey=True)
        chance = 100 * numbers["targets"] / numbers["blocks"]
        for axes, (kind, one) in zip(panels.flat, numbers["kinds"].items(), strict=True):
            bins = one["by_confidence"]
            places = [bin_["confidence"] for bin_ in bins]
            axes.axhline(chance, color=LIGHT["muted"], linewidth=1.2, linestyle=(0, (4, 3)))
            for name, label, colour, marker in (
                ("inside", "object inside the targets", BLUE, MARKERS[0]),
                ("sac_top1", "SAC right", GREEN, MARKERS[1]),
                ("ee_top1", "EE right", ORANGE, MARKERS[2]),
            ):
                _errors(axes, places, [bin_[name] for bin_ in bins], colour, marker, label, "-")
            axes.set_title(f"{kind} (n = {one['scenes']})", loc="left")
            axes.set(xlim=(0, 1.03), ylim=(-3, 106))
        for axes in panels[1]:
            axes.set_xlabel("EE's confidence")
        for axes in panels[:, 0]:
            axes.set_ylabel("% of the object's pixels, of scenes")
        panels[0, 0].annotate("random targets", (0.02, chance), (0, 4), textcoords="offset points", fontsize="x-small",
                              color=LIGHT["muted"])  # fmt: skip
        handles, names = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=3)
        figure.savefig(path, dpi=DPI)
        plt.close(figure)


def draw_stages(numbers: dict[str, Any], path: Path) -> None:
    """Accuracy with the targets of each rule, by kind."""
    kinds = list(numbers["kinds"].items())
    with style.context(["default", MATPLOTLIB]):
        figure, axes = plt.subplots(figsize=(10, 4.2), layout="constrained")
        for place, (stage, label, colour) in enumerate(STAGES):
            offset = 0.15 * (place - (len(STAGES) - 1) / 2)
            _errors(
                axes,
                [index + offset for index in range(len(kinds))],
                [one["top1"][stage] for _, one in kinds],
                colour,
                MARKERS[place],
                label,
                "",
            )
        axes.set_xticks(range(len(kinds)), [f"{kind}\nn = {one['scenes']}" for kind, one in kinds])
        axes.tick_params(axis="x", length=0, labelcolor=LIGHT["ink"])
        axes.grid(visible=False, axis="x")
        axes.set(ylabel="top-1 %", ylim=(0, 102), xlim=(-0.5, len(kinds) - 0.5))
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=5)
        figure.savefig(path, dpi=DPI)
        plt.close(figure)


def draw_found(numbers: dict[str, Any], path: Path) -> None:
    """Which rule finds how much of the object: attention against both rules by uncertainty."""
    kinds = list(numbers["kinds"].items())[::-1]
    with style.context(["default", MATPLOTLIB]):
        figure, panels = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained", sharey=True)
        for axes, (rule, title) in zip(
            panels, (("leave-one-out", "a block left out moves EE's answer"), ("entropy", "entropy of each block's answer")),
            strict=True,
        ):  # fmt: skip
            for row, (_, one) in enumerate(kinds):
                left = 0.0
                for part, label, colour in PARTS:
                    width = 100 * one["against_attention"][rule]["area"][part]["value"]
                    axes.barh(row, width, left=left, height=0.66, color=colour, label=label if row == 0 else None)
                    if width >= 6:
                        axes.text(left + width / 2, row, f"{width:.0f}", ha="center", va="center", color=LIGHT["surface"],
                                  fontsize="small")  # fmt: skip
                    left += width
            axes.set_title(f"Uncertainty: {title}", loc="left")
            axes.set(xlabel="% of the object's pixels", xlim=(0, 100))
            axes.grid(visible=False, axis="y")
            axes.set_yticks(range(len(kinds)), [f"{kind}, n = {one['scenes']}" for kind, one in kinds])
            axes.tick_params(axis="y", length=0, labelcolor=LIGHT["ink"])
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
        figure.savefig(path, dpi=DPI)
        plt.close(figure)


def _errors(
    axes: Any,
    places: Sequence[float],
    values: Sequence[dict[str, float]],
    colour: str,
    marker: str,
    label: str,
    line: str,
) -> None:
    middle = [100 * one["value"] for one in values]
    error = [
        [100 * (one["value"] - one["low"]) for one in values],
        [100 * (one["high"] - one["value"]) for one in values],
    ]
    axes.errorbar(places, middle, error, fmt="none", ecolor=colour, elinewidth=1.2, capsize=2)
    axes.plot(places, middle, color=colour, marker=marker, linestyle=line, label=label, zorder=3)
