"""The figures and the tables of docs/hierarchical.md, from the files that the measurements left.

    python examples/digits/hierarchical_figures.py --docs docs --runs runs/hierarchical --data data/small-32

Reads measured/hierarchical.json and measured/hierarchical_cost.json of --docs and writes hierarchical/accuracy.png; with the
networks of --runs and the scenes of --data, hierarchical/targets.png too. Tables are printed as Markdown. Intervals are
Student's at 95 %, over the seeds; differences are taken seed by seed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from model_figures import interval, shown

from sacvit.bundle.figure_style import MARKERS, MATPLOTLIB, SERIES
from sacvit.model.checkpoint import load_checkpoint

mpl.use("agg")
import matplotlib.pyplot as plt

NAMES = {
    "vit": "ViT pair",
    "attended": "hierarchical pair, class attention",
    "norm": "hierarchical pair, L2 norm",
    "full": "hierarchical, one stage",
    "vit-full": "ViT, one stage",
}
PAIRS = ("vit", "attended", "norm")
STAGES = {"ee": "EE", "sac": "SAC", "plain": "one stage"}
EXIT_RATE = "0.5"
SHOWN, SEED = 9, 4  # of the picture of targets: scenes, and the committed network's seed
Runs = dict[str, dict[int, Any]]  # by variant and seed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", type=Path, required=True)
    parser.add_argument("--runs", type=Path, help="Folder with the trained networks.")
    parser.add_argument("--data", type=Path, help="Folder with the scenes.")
    options = parser.parse_args()
    docs: Path = options.docs
    measured = json.loads((docs / "measured" / "hierarchical.json").read_text())
    out = docs / "hierarchical"
    out.mkdir(exist_ok=True)
    with mpl.rc_context(MATPLOTLIB):
        draw_accuracy(measured, out / "accuracy.png")
        if options.runs and options.data:
            draw_targets(options.runs, options.data, out / "targets.png")
    rows = json.loads((docs / "measured" / "hierarchical_cost.json").read_text())["rows"]
    print(accuracy_table(measured), difference_table(measured), cost_table(rows), sep="\n\n")


def by_variant(measured: dict[str, Any]) -> Runs:
    runs: Runs = {name: {} for name in NAMES}
    for run in measured["runs"]:
        runs[run["variant"]][run["seed"]] = run
    return {name: seeds for name, seeds in runs.items() if seeds}


def values(run: dict[str, Any]) -> dict[str, float]:
    """Accuracies of a run in %; a single-stage network has one, which is that of its last answer."""
    if "full" in run:
        return {"last": 100 * run["full"]}
    found = {"EE": run["ee"], "last": run["sac"], "chain": run["chain"][EXIT_RATE], "inside": run["inside"]}
    return {name: 100 * value for name, value in found.items()}


def megamacs(measured: dict[str, Any], name: str, exit_rate: float) -> float:
    """Mean MACs per image in millions."""
    cost = measured["cost"][name]
    if name not in PAIRS:
        return float(cost["plain"]["macs"]) / 1e6
    return float(cost["ee"]["macs"] + (1 - exit_rate) * cost["sac"]["macs"]) / 1e6


def accuracy_table(measured: dict[str, Any]) -> str:
    lines = [
        "| | seeds | EE, % | SAC, or one stage, % | chain, half exit, % | digit inside targets, %"
        " | million MACs, no exit | with half exit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, seeds in by_variant(measured).items():
        columns = []
        for key in ("EE", "last", "chain", "inside"):
            found = [values(run)[key] for run in seeds.values() if key in values(run)]
            columns.append(shown(found) if found else "")
        macs = [f"{megamacs(measured, name, rate):.2f}" for rate in (0.0, 0.5)]
        if name not in PAIRS:
            macs[1] = ""
        lines.append(f"| {NAMES[name]} | {len(seeds)} | " + " | ".join([*columns, *macs]) + " |")
    return "\n".join(lines)


COMPARED = (
    ("attended", "vit", "EE"), ("attended", "vit", "last"), ("attended", "vit", "chain"),
    ("attended", "full", "last"), ("norm", "attended", "last"), ("norm", "attended", "chain"),
    ("full", "vit-full", "last"),
)  # fmt: skip
MEASURES = {"EE": "EE", "last": "last answer", "chain": "chain, half exit"}


def differences(runs: Runs, one: str, other: str, key: str) -> list[float]:
    """Points of accuracy, of each seed that both have."""
    both = sorted(runs.get(one, {}).keys() & runs.get(other, {}).keys())
    return [values(runs[one][seed])[key] - values(runs[other][seed])[key] for seed in both]


def difference_table(measured: dict[str, Any]) -> str:
    runs = by_variant(measured)
    lines = ["| | against | measure | points |", "|---|---|---|---|"]
    for one, other, key in COMPARED:
        found = differences(runs, one, other, key)
        if found:
            lines.append(f"| {NAMES[one]} | {NAMES[other]} | {MEASURES[key]} | {shown(found, '+.1f')} |")
    return "\n".join(lines)


def cost_table(rows: list[dict[str, Any]]) -> str:
    """rows: of benchmarks/hierarchical.py."""
    lines = [
        "| | | million MACs | ms | ms of the ViT / of the other | kernels |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, middle, high = row["first_over_second"]
        digits = 2 if row["geometry"] == "32 pixels" else 0
        cells = [
            ", ".join(f"{macs:.{digits}f}" for macs in row["megamacs"].values()),
            ", ".join(f"{ms:.2f}" for ms in row["ms"].values()),
            f"{middle:.2f} ({low:.2f} to {high:.2f})",
            ", ".join(str(one["launches"]) for one in row["kernels"].values()),
        ]
        lines.append(f"| {row['geometry']} | {STAGES[row['stage']]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw_accuracy(measured: dict[str, Any], path: Path) -> None:
    """Accuracy over mean MACs: each pair at several exit rates, and the single-stage networks."""
    runs = by_variant(measured)
    figure, axis = plt.subplots(figsize=(7.2, 4.2), layout="constrained")
    for number, (name, seeds) in enumerate(runs.items()):
        if name in PAIRS:
            rates = [0.0, *(float(rate) for rate in next(iter(seeds.values()))["chain"]), 1.0]
            tops = [[100 * accuracy_at(run, rate) for run in seeds.values()] for rate in rates]
        else:
            rates, tops = [0.0], [[values(run)["last"] for run in seeds.values()]]
        means, halves = zip(*(interval(top) for top in tops), strict=True)
        macs = [
            megamacs(measured, name, rate) + 0.012 * (number - 2) for rate in rates
        ]  # so that bars do not cover each other
        axis.errorbar(
            macs, means, yerr=halves, fmt=MARKERS[number] + ("-" if name in PAIRS else ""), color=SERIES[number],
            label=NAMES[name], capsize=2, lw=1.4, elinewidth=0.9,
        )  # fmt: skip
    axis.set_xlabel("million MACs per image (mean); from the left, all images exit, 75 %, 50 %, 25 %, none")
    axis.set_ylabel("top-1 on 4 000 unseen scenes, %")
    axis.legend(loc="lower right")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_targets(runs: Path, data: Path, path: Path) -> None:
    """The targets of one seed's networks on unseen scenes: other blocks are dark."""
    images = np.load(data / "test" / "images.npy")[:SHOWN]
    figure, axes = plt.subplots(2, SHOWN, figsize=(1.15 * SHOWN, 2.6), layout="constrained")
    for row, name in zip(axes, ("attended", "norm"), strict=True):
        model = load_checkpoint(runs / f"{name}-{SEED}.pth").model
        with torch.inference_mode():
            index = model.ee(torch.from_numpy(images)).target_index.numpy()
        side = images.shape[1] // model.config.grid
        for axis, image, targets in zip(row, images, index, strict=True):
            is_target = np.isin(np.arange(model.config.blocks), targets).reshape(model.config.grid, -1)
            bright = is_target.repeat(side, 0).repeat(side, 1)[..., None]
            axis.imshow(np.where(bright, image, image // 4), interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
        row[0].set_ylabel(NAMES[name].removeprefix("hierarchical pair, "))
    figure.savefig(path, dpi=120)
    plt.close(figure)


def accuracy_at(run: dict[str, Any], exit_rate: float) -> float:
    """Of the chain when this share of the images exits, the most confident first."""
    if exit_rate in (0.0, 1.0):
        return float(run["ee"] if exit_rate else run["sac"])
    return float(run["chain"][str(exit_rate)])


if __name__ == "__main__":
    main()
