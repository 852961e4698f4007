"""Trains a hierarchical network and a ViT of equal MACs on the same scenes, and both single-stage networks: which is better?

    python examples/digits/hierarchical.py --data data/small-32 --out runs/hierarchical --json docs/measured/hierarchical.json

`attended` selects targets by class attention, `norm` by the L2 norm of their features; `full` and `vit-full` have one stage
over all of the fine tokens. A run whose result lies in --out is not repeated. A stopped command goes on, and two with other
--variants share the work; `norm` uses the first phase of `attended`, so let one command do both. docs/hierarchical.md has the
results.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ambiguities import RECIPE, SCENES, accuracies, train_network, write_scenes

from sacvit.bundle.preprocess import Preprocessing
from sacvit.machine.packages import versions
from sacvit.machine.processor import describe_machine
from sacvit.model.checkpoint import load_checkpoint
from sacvit.model.config import ModelConfig, preset
from sacvit.model.cost import count_cost
from sacvit.model.write_checkpoint import save_checkpoint
from sacvit.training.dataset import Split, open_split
from sacvit.training.evaluate import answer, plain_accuracy

SIDE = 32
DARKEST_DIGIT = 150  # of 255; the ground is below 128, and digits are painted with 190 or more
VIT = preset("demo", image_size=SIDE, patch_size=4, width=32, depth=5, heads=2, hidden=64, classes=10)
HIERARCHICAL = replace(VIT, depth=4, levels=(1,))
CONFIGS: dict[str, ModelConfig] = {
    "vit": VIT,
    "attended": HIERARCHICAL,
    "norm": replace(HIERARCHICAL, selection="norm"),
    "full": HIERARCHICAL,
    "vit-full": VIT,
}


def run_variant(name: str, seed: int, splits: dict[str, Split], out: Path) -> None:
    """Trains one network and judges it on the test scenes, unless its result exists."""
    kept = out / f"{name}-{seed}.json"
    if kept.is_file():
        return
    plain = name in ("full", "vit-full")
    model, lines = train_network(CONFIGS[name], replace(RECIPE, seed=seed), splits, out, plain)
    judged = {"full": plain_accuracy(model, splits["test"])} if plain else accuracies(answer(model, splits["test"]))
    key = "val_top1" if plain else "val_sac_top1"
    result = {"variant": name, "seed": seed, **judged, "loss": [line["loss"] for line in lines]}
    result |= {"val": [line[key] for line in lines], "duration_s": sum(line["duration_s"] for line in lines)}
    entries: dict[str, Any] = {"labels": [str(digit) for digit in range(10)]}
    if "threshold" in lines[-1]:
        entries["threshold"] = lines[-1]["threshold"]
    save_checkpoint(out / f"{name}-{seed}.pth", model, Preprocessing(SIDE, crop_ratio=1.0), **entries)
    kept.write_text(json.dumps(result) + "\n")


@torch.inference_mode()
def digit_inside_targets(checkpoint: Path, test: Split) -> float:
    """The mean share of a digit's pixels that lie in target blocks. Digits are lighter than any ground."""
    model = load_checkpoint(checkpoint).model
    images, _ = test.read(np.arange(len(test)))
    grid, side = model.config.grid, SIDE // model.config.grid
    light = (images.mean(-1) > DARKEST_DIGIT).reshape(-1, grid, side, grid, side).sum((2, 4)).reshape(-1, grid * grid)
    targets = model.ee(torch.from_numpy(images)).target_index.numpy()
    return float((np.take_along_axis(light, targets, 1).sum(1) / np.maximum(light.sum(1), 1)).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Folder for the scenes; written where it is missing.")
    parser.add_argument("--out", type=Path, required=True, help="Folder for the runs.")
    parser.add_argument("--variants", nargs="*", choices=CONFIGS, default=list(CONFIGS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--json", type=Path, help="Write the results of all runs in --out here.")
    options = parser.parse_args()
    logging.basicConfig(level="INFO", format="%(message)s")
    torch.set_num_threads(1)
    if not options.data.is_dir():
        write_scenes(options.data, SIDE)
    options.out.mkdir(parents=True, exist_ok=True)
    rule = Preprocessing(SIDE, crop_ratio=1.0)
    splits = {name: open_split(options.data / name, rule) for name in SCENES}
    for seed in options.seeds:
        for name in options.variants:
            run_variant(name, seed, splits, options.out)
    if options.json:
        found = [options.out / f"{name}-{seed}.json" for name in CONFIGS for seed in options.seeds]
        about: dict[str, Any] = {"recipe": asdict(RECIPE), "scenes": SCENES, "side": SIDE}
        about["configs"] = {name: config.to_dict() for name, config in CONFIGS.items()}
        about["cost"] = {name: asdict(count_cost(config)) for name, config in CONFIGS.items()}
        about |= {"machine": describe_machine(), "versions": versions()}
        about["runs"] = [json.loads(path.read_text()) for path in found if path.is_file()]
        for run in about["runs"]:
            if "sac" in run:
                trained = options.out / f"{run['variant']}-{run['seed']}.pth"
                run["inside"] = round(digit_inside_targets(trained, splits["test"]), 4)
        options.json.write_text(json.dumps(about) + "\n")


if __name__ == "__main__":
    main()
