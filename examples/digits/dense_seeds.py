r"""The dense networks of several seeds, judged on scenes that none of them saw: does the answer of docs/dense.md hold for all?

    python examples/digits/dense_seeds.py --runs runs runs-11 runs-21 --data data/dense-test/val \
        --json docs/measured/dense_seeds.json

Each folder of --runs holds the runs uncertain and plain of docs/dense.md, and perhaps attention, trained with seeds of their
own. mIoU is that of all scenes together, at the stored threshold; intervals are Student's at 95 %, over the seeds. Prints a
table as Markdown.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from model_figures import shown

from sacvit.bundle.gating import may_exit
from sacvit.machine.packages import versions
from sacvit.machine.processor import describe_machine
from sacvit.model.checkpoint import load_checkpoint, load_plain
from sacvit.model.dense import DensePlainViT, DenseTwoStageViT
from sacvit.training.dataset import open_split
from sacvit.training.evaluate import answer_cells, plain_cells

MODEL = "model.pth"
# Of each row of the table: its name, what is judged, and what it is compared with.
ROWS = (
    ("EE alone", "uncertain, EE", "plain"),
    ("chain, unsure blocks", "uncertain, chain", "plain"),
    ("unsure blocks, no exit", "uncertain, SAC", "plain"),
    ("chain, attended blocks", "attention, chain", "uncertain, chain"),
    ("attended blocks, no exit", "attention, SAC", "uncertain, SAC"),
    ("plain ViT", "plain", ""),
)
NAMES = {other: title for title, other, _ in ROWS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="A folder for each seed.")
    parser.add_argument("--data", type=Path, required=True, help="Scenes that no training and no threshold saw.")
    parser.add_argument("--json", type=Path, required=True, help="Write the measured numbers here.")
    options = parser.parse_args()
    seeds = [judge(folder, options.data) for folder in options.runs]
    about = {"machine": describe_machine(), "versions": versions(), "seeds": seeds}
    options.json.write_text(json.dumps(about, indent=1) + "\n")
    print(seeds_table(seeds))


def judge(folder: Path, data: Path) -> dict[str, Any]:
    """mIoU in [0, 1] of every network of a seed, and the share of images that exit."""
    network, rule = load_plain(folder / "plain" / MODEL)
    split = open_split(data, rule, network.config.cells)
    assert isinstance(network, DensePlainViT)
    found: dict[str, Any] = {"plain": plain_cells(network, split).miou()}
    for name in ("uncertain", "attention"):
        if not (folder / name / MODEL).is_file():
            continue
        checkpoint = load_checkpoint(folder / name / MODEL)
        assert isinstance(checkpoint.model, DenseTwoStageViT) and checkpoint.threshold is not None
        judged = answer_cells(checkpoint.model, split)
        exits = may_exit(judged.confidence, checkpoint.threshold)
        found[f"{name}, EE"], found[f"{name}, SAC"] = judged.ee.miou(), judged.sac.miou()
        found[f"{name}, chain"], found[f"{name}, exits"] = judged.chain(exits).miou(), float(exits.mean())
    return {key: round(value, 5) for key, value in found.items()}


def seeds_table(seeds: list[dict[str, Any]]) -> str:
    """A row for each network, over the seeds that have it."""
    lines = ["| | seeds | mIoU, % | against | points | images that exit, % |", "|---|---|---|---|---|---|"]
    for title, key, other in ROWS:
        found = [seed for seed in seeds if key in seed]
        apart = shown([100 * (seed[key] - seed[other]) for seed in found], "+.1f") if other else ""
        exits = f"{key.partition(',')[0]}, exits"
        left = shown([100 * seed[exits] for seed in found], ".0f") if key.endswith("chain") else ""
        mean = shown([100 * seed[key] for seed in found])
        lines.append(f"| {title} | {len(found)} | {mean} | {NAMES.get(other, '')} | {apart} | {left} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
