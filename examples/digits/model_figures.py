"""The figures and tables of docs/model.md, from the files that the measurements left.

    python examples/digits/model_figures.py --docs docs

Reads measured/ambiguities.json, measured/switches.json and digits/numbers.json of that folder, and writes into its folder
model/. Tables are printed as Markdown. Intervals are Student's at 95 %, over the seeds; differences are taken seed by seed.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from sacvit.bundle.figure_style import LIGHT, MARKERS, MATPLOTLIB, SERIES

mpl.use("agg")
import matplotlib.pyplot as plt

GUESS_LOSS = math.log(10)  # of an even guess among ten classes
LEFT_PLATEAU = GUESS_LOSS - 0.1
STUDENT_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # two-sided, by the number of seeds
EXIT_RATE = "0.5"
NAMES = {
    "default": "today",
    "one-table": "one position table",
    "outputs": "outputs reused",
    "class-target": "class token in the target cluster",
    "class-both": "class token in both clusters",
    "at-once": "no first phase",
}
FORMS = ("masked", "separate")
PRESETS = {"demo": "digits (64 pixels)", "deit-s": "DeiT-S"}
MEASURES = {"EE": "ee", "SAC": "sac", "chain, half exit": "chain"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", type=Path, required=True)
    docs: Path = parser.parse_args().docs
    runs = by_variant(json.loads((docs / "measured" / "ambiguities.json").read_text())["runs"])
    out = docs / "model"
    out.mkdir(exist_ok=True)
    with mpl.rc_context(MATPLOTLIB):
        draw_variants(runs, out / "variants.png")
        draw_losses(runs, out / "losses.png")
        draw_low_eta(json.loads((docs / "digits" / "numbers.json").read_text()), out / "low-eta.png")
    rows = json.loads((docs / "measured" / "switches.json").read_text())["rows"]
    print(accuracy_table(runs), stability_table(runs), products_table(rows), sep="\n\n")


def by_variant(found: list[dict[str, Any]]) -> dict[str, dict[int, Any]]:
    """Runs by variant, in the order of NAMES, and by seed."""
    runs: dict[str, dict[int, Any]] = {name: {} for name in NAMES}
    for run in found:
        runs[run["variant"]][run["seed"]] = run | {"chain": run["chain"][EXIT_RATE]}
    return {name: seeds for name, seeds in runs.items() if seeds}


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and half the width of its interval; of one value, infinity."""
    if len(values) < 2:
        return float(np.mean(values)), math.inf
    return float(np.mean(values)), STUDENT_95[len(values)] * float(np.std(values, ddof=1)) / len(values) ** 0.5


def shown(values: Sequence[float], form: str = ".1f") -> str:
    """The mean and its interval; of one seed the value alone."""
    mean, half = interval(values)
    return f"{mean:{form}} ± {half:.1f}" if math.isfinite(half) else f"{mean:{form}}"


def differences(runs: dict[str, dict[int, Any]], name: str, key: str) -> list[float]:
    """Points of accuracy above the default, of each seed that both have."""
    return [
        100 * (run[key] - runs["default"][seed][key]) for seed, run in runs[name].items() if seed in runs["default"]
    ]


def accuracy_table(runs: dict[str, dict[int, Any]]) -> str:
    lines = [
        "| | seeds | " + " | ".join(f"{name}, %" for name in MEASURES) + " | SAC against today, points |",
        "|---|---|---|---|---|---|",
    ]
    for name, seeds in runs.items():
        cells = [shown([100 * run[key] for run in seeds.values()]) for key in MEASURES.values()]
        apart = "" if name == "default" else shown(differences(runs, name, "sac"), "+.1f")
        lines.append(f"| {NAMES[name]} | {len(seeds)} | " + " | ".join(cells) + f" | {apart} |")
    return "\n".join(lines)


def stability_table(runs: dict[str, dict[int, Any]]) -> str:
    """How the loss went: of each variant the values of its seeds."""
    lines = [
        f"| | epochs until the loss is below {LEFT_PLATEAU:.1f} | last loss | largest rise in an epoch | largest gradient |",
        "|---|---|---|---|---|",
    ]
    for name, seeds in runs.items():
        measures = (plateau_epochs, last_loss, largest_rise, largest_gradient)
        columns = [", ".join(measure(run) for _, run in sorted(seeds.items())) for measure in measures]
        lines.append(f"| {NAMES[name]} | " + " | ".join(columns) + " |")
    return "\n".join(lines)


def products_table(rows: list[dict[str, Any]]) -> str:
    """SAC with one masked product or one per cluster; rows: of benchmarks/switches.py."""
    lines = [
        "| | class token | MACs | kernels, masked | kernels, separate | ms, masked | ms, separate | masked / separate |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row["stage"] == "SAC":
            low, middle, high = row["first_over_second"]
            kernels = " | ".join(str(row["kernels"][form]["launches"]) for form in FORMS)
            ms = " | ".join(f"{row['ms'][form]:.2f}" for form in FORMS)
            network = f"{PRESETS[row['preset']]} | `{row['row']}` | {row['megamacs']} M"
            lines.append(f"| {network} | {kernels} | {ms} | {middle:.2f} ({low:.2f} to {high:.2f}) |")
    return "\n".join(lines)


def plateau_epochs(run: dict[str, Any]) -> str:
    below = [epoch for epoch, loss in enumerate(run["loss"], 1) if loss < LEFT_PLATEAU]
    return str(below[0]) if below else "never"


def last_loss(run: dict[str, Any]) -> str:
    return f"{run['loss'][-1]:.2f}"


def largest_rise(run: dict[str, Any]) -> str:
    return f"{max(0.0, *(after - before for before, after in zip(run['loss'], run['loss'][1:], strict=False))):.2f}"


def largest_gradient(run: dict[str, Any]) -> str:
    return f"{max(run['largest_gradient']):.1f}"


def draw_variants(runs: dict[str, dict[int, Any]], path: Path) -> None:
    """Left the accuracy of each seed, right the difference to the default with its interval."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.4), layout="constrained", sharey=True)
    places = {name: -place for place, name in enumerate(runs)}
    for number, (measure, key) in enumerate(MEASURES.items()):
        pairs = [(100 * run[key], places[name]) for name, seeds in runs.items() for run in seeds.values()]
        left.plot(*zip(*pairs, strict=True), MARKERS[number], color=SERIES[number], label=measure, alpha=0.8)
    for name in runs:
        for number, key in enumerate(("sac", "chain")):
            if name != "default":
                mean, half = interval(differences(runs, name, key))
                place = places[name] + 0.12 - 0.24 * number
                right.errorbar(
                    mean,
                    place,
                    xerr=half if math.isfinite(half) else 0,
                    fmt=MARKERS[1 + number],
                    color=SERIES[1 + number],
                )
    right.axvline(0, color=LIGHT["muted"], lw=1)
    left.set_yticks(list(places.values()), [NAMES[name] for name in places])
    left.set_xlabel("top-1 on 4 000 unseen scenes, %; a point per seed")
    right.set_xlabel("points against today; mean and 95 % interval over the seeds")
    left.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_losses(runs: dict[str, dict[int, Any]], path: Path) -> None:
    """The loss of every seed, one panel per variant, with the default's behind it."""
    others = [name for name in runs if name != "default"]
    figure, axes = plt.subplots(1, len(others), figsize=(11, 2.7), layout="constrained", sharey=True)
    for axis, name in zip(np.atleast_1d(axes), others, strict=True):
        for shown, colour in (("default", SERIES[5]), (name, SERIES[0])):
            for run in runs[shown].values():
                axis.plot(range(1, len(run["loss"]) + 1), run["loss"], color=colour, lw=1.2, alpha=0.85)
        axis.axhline(GUESS_LOSS, color=LIGHT["muted"], lw=0.8, ls=":")
        axis.set_title(NAMES[name].replace("class token in ", "class token in\n"), fontsize=9)
        axis.set_xlabel("epoch")
    np.atleast_1d(axes)[0].set_ylabel("loss; grey: today")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_low_eta(numbers: dict[str, Any], path: Path) -> None:
    """The committed digits model: accuracy and exits over eta."""
    etas, tops, exits = ([row[key] for row in numbers["eta"]] for key in ("eta", "top1", "exit_rate"))
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
    for axis, values, text, colour in (
        (left, tops, "top-1 of the chain, %", SERIES[0]), (right, exits, "images that exit, %", SERIES[1]),
    ):  # fmt: skip
        axis.plot(etas, [100 * value for value in values], "-o", color=colour)
        axis.axvline(numbers["stored_eta"], color=LIGHT["muted"], lw=0.8, ls=":")
        axis.set_xlabel("threshold eta; dotted: the stored one")
        axis.set_ylabel(text)
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
