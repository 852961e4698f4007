"""Draws docs/alpha-and-eta.md's figure from a run of sacvit-tune --alpha, and keeps the run's numbers beside it.

python examples/digits/alpha_figures.py --tuned tuned --out docs/digits
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

from sacvit.bundle.figure_style import MARKERS, MATPLOTLIB, SERIES
from sacvit.profiles.results.result_files import read_tune

mpl.use("agg")
import matplotlib.pyplot as plt
from matplotlib import style

DPI = 120


def draw_plane(alphas: Any, path: Path) -> None:
    """Left: each alpha's curve over eta; right: what SAC on every image reaches and takes, by alpha."""
    with style.context(["default", MATPLOTLIB]):
        figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained", width_ratios=(3, 2))
        for place, share in enumerate(alphas["shares"]):
            own = " (trained with)" if share["alpha"] == alphas["own"] else ""
            left.plot(
                [one["mean_ms"] for one in share["curve"]],
                [100 * one["top1"] for one in share["curve"]],
                color=SERIES[place % len(SERIES)],
                label=f"alpha {share['alpha']:g}{own}",
            )
        front = alphas["front"]
        left.plot(
            [one["mean_ms"] for one in front],
            [100 * one["top1"] for one in front],
            "o",
            color="none",
            markeredgecolor="#1b1f24",
            label="best pairs, chosen on the fit split",
        )
        left.set(xlabel="mean ms per image, batch 1", ylabel="top-1 %, report split")
        left.legend(loc="lower right")
        places = [share["alpha"] for share in alphas["shares"]]
        values = [100 * share["top1"] for share in alphas["shares"]]
        errors = [
            [100 * (share["top1"] - share["low"]) for share in alphas["shares"]],
            [100 * (share["high"] - share["top1"]) for share in alphas["shares"]],
        ]
        right.errorbar(
            places, values, yerr=errors, fmt=f"{MARKERS[0]}-", color=SERIES[0], label="top-1 %, SAC on every image"
        )
        right.set(xlabel="alpha", ylabel="top-1 %, SAC on every image")
        times = right.twinx()
        times.plot(places, [share["sac_ms"] for share in alphas["shares"]], f"{MARKERS[1]}-", color=SERIES[1])
        times.set_ylabel("ms of a SAC pass", color=SERIES[1])
        times.grid(visible=False)
        times.set_ylim(bottom=0)
        figure.savefig(path, dpi=DPI)
        plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tuned", type=Path, required=True, help="the folder of the run")
    parser.add_argument("--out", type=Path, required=True, help="folder of the figure and the numbers")
    options = parser.parse_args()
    tune = read_tune(options.tuned)
    alphas = tune["alphas"]
    draw_plane(alphas, options.out / "alpha.png")
    kept = {name: tune[name] for name in ("date", "backend", "batch", "data", "timing")}  # type: ignore[literal-required]
    (options.out / "alpha.json").write_text(json.dumps({**kept, "alphas": alphas}, indent=1) + "\n")


if __name__ == "__main__":
    main()
