"""sacvit-train: a data folder becomes model.pth."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from ..bundle.errors import ConfigError
from ..model.config import PRESETS, ModelConfig, preset
from ..runtime.bounds import flag_of
from ..training.recipe import RECIPES, Recipe
from ..training.run_options import RunOptions
from .frame import new_parser, run_command
from .options import add_options, read_options

GEOMETRY = ("image_size", "classes")  # besides the fields of ModelConfig that are options by themselves


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser("sacvit-train", "Train a two-stage early-exit vision transformer with the paper's recipe.")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = recipe_table()
    parser.add_argument(
        "--data", type=Path, required=True, help="Folder with train/ and val/: class folders, .tar shards or arrays."
    )
    add_options(parser, RunOptions)
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU if there is one (default: auto)."
    )
    model = parser.add_argument_group("model")
    model.add_argument("--preset", default="deit-s", help=f"Geometry: {', '.join(PRESETS)} (default: deit-s).")
    model.add_argument("--image-size", type=int, help="Side of the image in pixels (default: the preset's).")
    model.add_argument("--classes", type=int, help="Number of classes (default: counted in --data).")
    model.add_argument(
        "--crop-ratio", type=float, default=0.875, help="Share of the short side that is used (default: 0.875)."
    )
    add_options(model, ModelConfig)  # type: ignore[arg-type]
    recipe = parser.add_argument_group("recipe", "Options go before the named recipe. Their values: see below.")
    recipe.add_argument(
        "--recipe",
        choices=tuple(RECIPES),
        help="paper: train from scratch. finetune: continue from --start, in a tenth of the time.",
    )
    add_options(recipe, Recipe, dict.fromkeys(Recipe.__dataclass_fields__))  # type: ignore[arg-type]  # None: the recipe's
    return parser


def recipe_table() -> str:
    """A table for --help: the value of each option in each recipe."""
    named = {"without": Recipe(), **RECIPES}
    lines = [f"{'value without --recipe, and in each recipe':48}" + "".join(f"{name:>10}" for name in named)]
    for entry in fields(Recipe):
        if "help" in entry.metadata:
            values = (f"{float(getattr(recipe, entry.name)):g}" for recipe in named.values())
            lines.append(f"  {flag_of(entry):46}" + "".join(f"{value:>10}" for value in values))
    return "\n".join(lines)


def train_command(options: argparse.Namespace) -> int:
    from ..bundle.preprocess import Preprocessing  # here: --help answers without torch
    from ..training.train import cells_of, open_data, require_possible, train
    from ..training.workers import join_workers

    run = read_options(RunOptions, options)
    recipe = recipe_of(options)
    switches = [entry.name for entry in fields(ModelConfig) if "help" in entry.metadata]
    given = {name: value for name in (*switches, *GEOMETRY) if (value := getattr(options, name)) is not None}
    config = preset(options.preset, **given)
    recipe.require_task(config.task)
    preprocessing = Preprocessing(config.image_size, crop_ratio=options.crop_ratio)
    with join_workers(options.device) as workers:
        require_possible(recipe, run, workers)
        data = open_data(options.data, preprocessing, cells_of(config))
        if options.classes is None:
            config = replace(config, classes=len(data[0].classes))
        train(data, config, preprocessing, recipe, run, workers)
    if workers.is_first:
        print(run.model_path)
    return 0


def recipe_of(options: argparse.Namespace) -> Recipe:
    """The named recipe, or the default one, changed by the options. The first phase keeps its share of the epochs."""
    if options.recipe == "finetune" and options.start is None and not options.resume:
        raise ConfigError(
            "--recipe finetune continues from a trained network, and none is given. Name its checkpoint with --start FILE,"
            " or train from scratch with --recipe paper"
        )
    base = Recipe() if options.recipe is None else RECIPES[options.recipe]
    given = {name: value for name in Recipe.__dataclass_fields__ if (value := getattr(options, name, None)) is not None}
    if "augment" not in given and (options.data / "train" / "images.npy").is_file():
        given["augment"] = False  # arrays are used as they are
    given.setdefault("unclustered_epochs", base.unclustered_epochs * given.get("epochs", base.epochs) // base.epochs)
    return replace(base, **given)


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), train_command, arguments)
