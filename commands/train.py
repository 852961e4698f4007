"""sacvit-train: a data folder becomes model.pth."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .frame import new_parser, run_command

if TYPE_CHECKING:
    from ..training.recipe import Recipe


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser("sacvit-train", "Train a two-stage early-exit vision transformer with the paper's recipe.")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with train/ and val/: class folders, .tar shards or arrays"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/train"), help="where the files go (default: %(default)s)"
    )
    parser.add_argument("--preset", default="deit-s", help="geometry: deit-ti, deit-s, deit-b or demo (%(default)s)")
    parser.add_argument("--image-size", type=int, help="pixels, instead of the preset's")
    parser.add_argument("--classes", type=int, help="number of classes (default: counted in --data)")
    parser.add_argument("--selection", choices=("topk", "window"), default="topk")
    parser.add_argument("--alpha", type=float, default=0.5, help="share of blocks that become targets (%(default)s)")
    parser.add_argument("--window", type=int, help="side of the window in blocks, with --selection window")
    parser.add_argument("--attention", choices=("clustered", "global"), default="clustered")
    parser.add_argument("--downsample", choices=("bilinear", "area"), default="bilinear")
    parser.add_argument("--crop-ratio", type=float, default=0.875, help="of the short side, at inference (%(default)s)")
    parser.add_argument(
        "--recipe",
        choices=("paper", "finetune"),
        help="paper: from scratch; finetune: from --start, in a tenth of the time",
    )
    parser.add_argument("--epochs", type=int, help="passes over the training images (350; finetune: 30)")
    parser.add_argument(
        "--unclustered-epochs", type=int, help="first phase: every block a target, global attention (default: 4/7)"
    )
    parser.add_argument("--batch", type=int, help="images a step (128; paper: 1024; finetune: 64)")
    parser.add_argument(
        "--accumulate", type=int, default=1, help="passes that a step's images are split into: less memory"
    )
    parser.add_argument(
        "--learning-rate", type=float, help="peak of AdamW's cosine schedule (8e-4; paper: 1e-3; finetune: 1e-4)"
    )
    parser.add_argument("--weight-decay", type=float, default=0.05, help="of the matrices (%(default)s)")
    parser.add_argument(
        "--curriculum", type=float, default=0.0, help="share of the steps that go from easy to all images"
    )
    parser.add_argument(
        "--augment",
        action="store_true",
        default=None,
        help="random crops and mirrored pictures (recipes: on, for pictures)",
    )
    parser.add_argument(
        "--colour-jitter", type=float, metavar="SHARE", help="of brightness, contrast, saturation (0; paper: 0.4)"
    )
    parser.add_argument(
        "--erase", type=float, metavar="PROBABILITY", help="of a box of noise in an image (0; paper: 0.25)"
    )
    parser.add_argument(
        "--mixup", type=float, metavar="ALPHA", help="blends pairs of images and labels (0; paper: 0.8)"
    )
    parser.add_argument("--cutmix", type=float, metavar="ALPHA", help="swaps boxes between pairs (0; paper: 1)")
    parser.add_argument("--label-smoothing", type=float, metavar="SHARE", help="of the true class (0; recipes: 0.1)")
    parser.add_argument(
        "--average",
        type=float,
        metavar="DECAY",
        help="keep the weights' moving average (0: the last ones; finetune: 0.999)",
    )
    parser.add_argument(
        "--mixed",
        action="store_true",
        help="mixed precision: bfloat16 where that is safe (GPUs from Ampere on, newer CPUs)",
    )
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="a GPU where there is one (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the weights and of the batches (%(default)s)")
    parser.add_argument("--start", type=Path, help="checkpoint to start from; a plain DeiT/timm ViT will do")
    parser.add_argument("--resume", action="store_true", help="go on from OUT/last.pth")
    parser.add_argument("--save-steps", type=int, default=500, help="steps between two last.pth (%(default)s)")
    parser.add_argument("--tensorboard", action="store_true", help="curves into OUT/tensorboard")
    parser.add_argument(
        "--plain", action="store_true", help="train the single-stage ViT of the same size: the baseline"
    )
    parser.add_argument("--half", action="store_true", help="store model.pth as FP16: half the file")
    return parser


def train_command(options: argparse.Namespace) -> int:
    from ..bundle.errors import ConfigError
    from ..bundle.preprocess import Preprocessing  # here: --help answers without torch
    from ..model.config import preset
    from ..training.train import open_data, train
    from ..training.workers import join_workers

    switches = ("image_size", "classes", "selection", "alpha", "window", "attention", "downsample")
    given = {key: getattr(options, key) for key in switches if getattr(options, key) is not None}
    config = preset(options.preset, **given)
    preprocessing = Preprocessing(config.image_size, crop_ratio=options.crop_ratio)
    data = open_data(options.data, preprocessing)
    if options.classes is None:
        config = replace(config, classes=len(data[0].classes))
    recipe = recipe_of(options)
    if options.save_steps < 1:
        raise ConfigError(f"--save-steps {options.save_steps}: give 1 or more")
    with join_workers(options.device) as workers:
        train(
            data,
            options.out,
            config,
            preprocessing,
            recipe,
            plain=options.plain,
            start=options.start,
            resume=options.resume,
            half=options.half,
            save_steps=options.save_steps,
            tensorboard=options.tensorboard,
            workers=workers,
        )
    if not workers.is_first:
        return 0
    print(options.out / "model.pth")
    return 0


def recipe_of(options: argparse.Namespace) -> Recipe:
    """The recipe that was named, or the plain one, with what options say instead. The first phase keeps its share."""
    from ..training.recipe import RECIPES, Recipe

    base = Recipe() if options.recipe is None else RECIPES[options.recipe]
    names = ["epochs", "batch", "learning_rate", "augment", "label_smoothing", "average"]
    names += ["colour_jitter", "erase", "mixup", "cutmix"]
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if "augment" not in given and (options.data / "train" / "images.npy").is_file():
        given["augment"] = False  # arrays are used as they are
    epochs = given.get("epochs", base.epochs)
    unclustered = base.unclustered_epochs * epochs // base.epochs
    if options.unclustered_epochs is not None:
        unclustered = options.unclustered_epochs
    return replace(
        base,
        **given,
        unclustered_epochs=unclustered,
        accumulate=options.accumulate,
        weight_decay=options.weight_decay,
        curriculum=options.curriculum,
        mixed=options.mixed,
        seed=options.seed,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), train_command, arguments)
