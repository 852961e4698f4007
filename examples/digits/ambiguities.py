"""Trains a small network once per variant and seed, where the papers leave open what is meant: which variant is better?

    python examples/digits/ambiguities.py --data data/small --out runs/ambiguities --json docs/measured/ambiguities.json

The variants are trained alike on the same scenes. `at-once` concerns the recipe: it clusters from the first epoch on, others
only after a first phase. A run whose result lies in --out is not repeated. A stopped command goes on, and two with other
--variants share the work. Each run needs 2 to 3 minutes of one core. docs/model.md has the results.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from scenes import ImageU8, Material, digit_mask, draw_ground, load_material, paint
from tqdm import tqdm

from sacvit.bundle.preprocess import Preprocessing
from sacvit.machine.packages import versions
from sacvit.machine.processor import describe_machine
from sacvit.model.config import ModelConfig, preset
from sacvit.profiles.tuning.curve import Judged
from sacvit.training.dataset import Split, open_split
from sacvit.training.evaluate import answer
from sacvit.training.recipe import Recipe
from sacvit.training.resume import Place
from sacvit.training.run_options import RunOptions
from sacvit.training.train import ALONE, evaluate, first_model, new_batches, new_state
from sacvit.training.trainer import Trainer

SIDE = 24
RULE = Preprocessing(SIDE, crop_ratio=1.0)
CONFIG = preset("demo", image_size=SIDE, patch_size=4, width=32, depth=5, heads=2, hidden=64, classes=10)
RECIPE = Recipe(epochs=8, unclustered_epochs=4, batch=64, learning_rate=2e-3)
SCENES = {"train": 8_000, "val": 500, "test": 4_000}
EXIT_RATES = (0.25, 0.5, 0.75)
# What differs from CONFIG and RECIPE.
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "default": ({}, {}),
    "one-table": ({"positions": "one"}, {}),
    "outputs": ({"reuse": "outputs"}, {}),
    "class-target": ({"class_cluster": "target"}, {}),
    "class-both": ({"class_cluster": "both"}, {}),
    "at-once": ({}, {"unclustered_epochs": 0}),
}


def draw_scene(rng: np.random.Generator, material: Material, side: int) -> tuple[ImageU8, int]:
    """A light digit near the centre of a dark, blurred piece of a photograph: easier than `scenes`, and learnt sooner."""
    which = int(rng.integers(len(material.labels)))
    ground = draw_ground(rng, material, float(rng.uniform(0, 0.4)), side) // 2
    size = side * rng.uniform(0.45, 0.7)
    centre = side / 2 + rng.uniform(-3, 3, 2)
    mask = digit_mask(material.digits[which], size, rng.uniform(-8, 8), (float(centre[0]), float(centre[1])), side)
    picture = paint(ground, mask, np.full(3, rng.uniform(190, 255), np.float32))
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), int(material.labels[which])


def write_scenes(folder: Path, side: int = SIDE) -> None:
    """The splits as arrays, each from its own seed; `val` and `test` show digits and ground that `train` does not."""
    for seed, (name, count) in enumerate(SCENES.items()):
        material, rng = load_material("train" if name == "train" else "test"), np.random.default_rng(seed)
        images, labels = zip(
            *(draw_scene(rng, material, side) for _ in tqdm(range(count), desc=f"{name} scenes")), strict=True
        )
        (folder / name).mkdir(parents=True)
        np.save(folder / name / "labels.npy", np.array(labels, np.int64))
        np.save(folder / name / "images.npy", np.stack(images))


def run_variant(name: str, seed: int, splits: dict[str, Split], out: Path) -> dict[str, Any]:
    """Trains one network and judges it on the test scenes; reads the result where it exists."""
    kept = out / f"{name}-{seed}.json"
    if kept.is_file():
        found: dict[str, Any] = json.loads(kept.read_text())
        return found
    changes, other_recipe = VARIANTS[name]
    recipe = replace(RECIPE, seed=seed, **other_recipe)
    model, lines = train_network(replace(CONFIG, **changes), recipe, splits, out)
    result = {
        "variant": name,
        "seed": seed,
        **accuracies(answer(model, splits["test"])),
        "loss": [line["loss"] for line in lines],
        "largest_gradient": [line["largest_gradient"] for line in lines],
        "val_sac": [line["val_sac_top1"] for line in lines],
    }
    kept.write_text(json.dumps(result) + "\n")
    return result


def accuracies(judged: Judged) -> dict[str, Any]:
    """Shares in [0, 1]: of each stage, and of the chain at each exit rate."""
    return {
        "ee": round(float(judged.ee_right.mean()), 4),
        "sac": round(float(judged.sac_right.mean()), 4),
        "chain": {str(rate): round(chain_accuracy(judged, rate), 4) for rate in EXIT_RATES},
    }


def train_network(
    config: ModelConfig, recipe: Recipe, splits: dict[str, Split], out: Path, plain: bool = False
) -> tuple[Any, list[dict[str, Any]]]:
    """The network after all epochs, and the metrics of each. plain: the single-stage one.

    In the first phase there are no clusters and no non-targets, so that it is the same for all variants of a family with the
    same position tables: it is trained once per seed and kept in `out`.
    """
    options = RunOptions(plain=plain)
    model = first_model(config, Preprocessing(config.image_size, crop_ratio=1.0), recipe, options)
    widen_weights(model)
    state = replace(new_state(model, recipe, options, splits["train"]), run={})  # another variant may go on from it
    trainer = Trainer(recipe, state, new_batches(splits["train"], recipe), ALONE)
    first = out / f"first-{config.family}-{config.positions}-{recipe.seed}.pth"
    place, lines = Place(), list[dict[str, Any]]()
    if not plain and recipe.unclustered_epochs and first.is_file():
        place, lines = state.restore(first), json.loads(first.with_suffix(".json").read_text())
    for epoch in range(place.epoch, recipe.epochs):
        line = trainer.epoch(Place(epoch), 10**9, lambda place: None) | evaluate(model, splits["val"])
        logging.info("%s", line)
        lines.append(line)
        if not plain and epoch + 1 == recipe.unclustered_epochs:
            first.with_suffix(".json").write_text(json.dumps(lines))
            state.save(first, Place(epoch + 1))
    return model, lines


@torch.no_grad()
def widen_weights(model: torch.nn.Module) -> None:
    """Starts each matrix with a deviation of 1 / sqrt(inputs): DeiT's 0.02 is for wide networks, and this one would learn
    little from its first 40 000 images."""
    for module in model.modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
            torch.nn.init.trunc_normal_(module.weight, std=module.weight[0].numel() ** -0.5)
    for name, parameter in model.named_parameters():
        if name.startswith("cls_token") or "pos_embed" in name:
            parameter.mul_(10)


def chain_accuracy(judged: Judged, exit_rate: float) -> float:
    """Accuracy when this share of the images leaves after EE, the most confident first: no threshold is fitted."""
    surest = np.argsort(-judged.confidence, kind="stable")[: round(exit_rate * judged.count)]
    right = judged.sac_right.astype(bool).copy()
    right[surest] = judged.ee_right.astype(bool)[surest]
    return float(right.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Folder for the scenes; written where it is missing.")
    parser.add_argument("--out", type=Path, required=True, help="Folder for the runs.")
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--json", type=Path, help="Write the results of all runs in --out here.")
    options = parser.parse_args()
    logging.basicConfig(level="INFO", format="%(message)s")
    torch.set_num_threads(1)
    if not options.data.is_dir():
        write_scenes(options.data)
    options.out.mkdir(parents=True, exist_ok=True)
    splits = {name: open_split(options.data / name, RULE) for name in SCENES}
    for seed in options.seeds:
        for name in options.variants:
            run_variant(name, seed, splits, options.out)
    if options.json:
        found = [path for path in sorted(options.out.glob("*.json")) if not path.name.startswith("first-")]
        runs = [json.loads(path.read_text()) for path in found]
        about = {"config": CONFIG.to_dict(), "recipe": asdict(RECIPE), "scenes": SCENES, "variants": VARIANTS}
        about |= {"machine": describe_machine(), "versions": versions()}
        options.json.write_text(json.dumps({**about, "runs": runs}) + "\n")


if __name__ == "__main__":
    main()
