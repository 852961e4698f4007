"""A training run from its data folder to its files: metrics.jsonl, last.pth (to resume from) and the model."""

from __future__ import annotations

import copy
import importlib
import logging
import os
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..bundle.errors import ConfigError
from ..bundle.files import require_folder
from ..bundle.preprocess import Preprocessing
from ..model.checkpoint import start_from
from ..model.config import ModelConfig
from ..model.dense import NETWORKS
from ..model.network import PlainViT, TwoStageViT
from ..model.read_checkpoint import require_files
from ..model.write_checkpoint import save_checkpoint
from .augment import Augmentation, Mixing
from .batches import Batches
from .calibration_set import write_calibration_set
from .dataset import Split, open_split, require_split
from .evaluate import evaluate
from .log import Log
from .loss import decay_groups
from .recipe import Recipe
from .resume import Place, State, forget_halves, require_no_run, require_run
from .run_options import RunOptions
from .trainer import Trainer
from .workers import Workers

logger = logging.getLogger(__name__)
ALONE = Workers()


def train(
    data: Path | tuple[Split, Split],
    config: ModelConfig,
    preprocessing: Preprocessing,
    recipe: Recipe,
    options: RunOptions,
    workers: Workers = ALONE,
) -> dict[str, Any]:
    """Trains a two-stage network (or the plain baseline) and returns the last line of its metrics.

    data: a folder with train/ and val/, see `dataset`, or the result of `open_data`. workers: the processes that share each
    batch; the first one evaluates and writes, and the others return {}.
    """
    recipe.require_task(config.task)
    require_possible(recipe, options, workers)
    training, validation = open_data(data, preprocessing, cells_of(config)) if isinstance(data, Path) else data
    if len(training.classes) != config.classes:
        raise ConfigError(
            f"the training data has {len(training.classes)} classes, the model {config.classes}; they must agree"
        )
    model = first_model(config, preprocessing, recipe, options).to(workers.device)
    batches = new_batches(training, recipe)
    state = new_state(model, recipe, options, training)
    last = options.out / "last.pth"
    place = state.restore(last) if options.resume else Place()
    workers.require_same(state.run | {"place": asdict(place)})  # before the first one writes what the others look for
    trainer = Trainer(recipe, state, batches, workers)
    metrics: dict[str, Any] = {}

    def save(place: Place) -> None:
        if workers.is_first:
            state.save(last, place)

    if workers.is_first:
        forget_halves(options.out)
        logger.info(
            "training on %d images of %d classes, %d per step, from epoch %d of %d on; %d images to judge on; on %s",
            *(len(training), config.classes, recipe.batch, place.epoch + 1, recipe.epochs, len(validation)),
            workers.device,
        )
    resumed = place.epoch if options.resume else None
    with Log(options.out, resumed, options.tensorboard) if workers.is_first else nullcontext() as log:
        for epoch in range(place.epoch, recipe.epochs):
            metrics = trainer.epoch(place, options.save_steps, save)
            place = Place(epoch + 1)
            unreadable = set().union(*workers.gather(set(training.faults)))  # each process reads its own part
            if log is not None:
                metrics |= evaluate(state.kept, validation) | faults_of(len(unreadable) + len(validation.faults))
                log.note(metrics)
            save(place)
            workers.wait()
        if log is None:
            return {}
        if options.half:
            round_to_half(state.kept)
        metrics |= {"epoch": recipe.epochs, "final": True, "half": options.half} | evaluate(state.kept, validation)
        log.note(metrics, quiet=True)
    write_model(state.kept, preprocessing, options, training, metrics.get("threshold"))
    return metrics


def require_possible(recipe: Recipe, options: RunOptions, workers: Workers) -> None:
    """Raises errors that would otherwise end a run after its images are listed (minutes for ImageNet), or at its very end."""
    workers.require_shares(recipe.batch, recipe.accumulate, recipe.mixes_pairs)
    if options.resume:
        require_run(options.out / "last.pth")
    else:
        require_no_run(options.out)
        if options.start is not None:
            require_files(options.start)
    require_folder(options.out, "--out")
    if options.format == "safetensors":
        importlib.import_module("safetensors.torch")
    if options.tensorboard and workers.is_first:
        importlib.import_module("torch.utils.tensorboard")


def cells_of(config: ModelConfig) -> int | None:
    """Cells along a side of a dense task's masks; None for a classifier."""
    return config.cells if config.task == "dense" else None


def open_data(data: Path, preprocessing: Preprocessing, cells: int | None = None) -> tuple[Split, Split]:
    """The splits train/ and val/. Raises ConfigError when their classes differ. cells: see `cells_of`."""
    logger.info("listing the images in %s", data)  # takes a minute and a half for ImageNet in shards
    for name in ("train", "val"):
        require_split(data / name)
    training, validation = (open_split(data / name, preprocessing, cells) for name in ("train", "val"))
    if validation.classes != training.classes:
        apart = sorted(set(training.classes) ^ set(validation.classes)) or "the same names in another order"
        raise ConfigError(f"{data}: train/ and val/ must have the same classes; they differ in {apart}")
    return training, validation


def first_model(
    config: ModelConfig, preprocessing: Preprocessing, recipe: Recipe, options: RunOptions
) -> TwoStageViT | PlainViT:
    """The network, initialised by the recipe's seed and then filled from `options.start`."""
    torch.manual_seed(recipe.seed)
    networks = NETWORKS[config.task]
    network: type[TwoStageViT | PlainViT] = networks.plain if options.plain else networks.two_stage
    model = network(config, preprocessing.mean, preprocessing.std)
    if options.start is not None and not options.resume:
        begun = start_from(model, options.start, options.weights)
        logger.info(
            "started from %s; left as initialised: %s", options.start, ", ".join(begun.initialised) or "nothing"
        )
        if begun.unused:
            logger.warning("not used of %s: %s", options.start, ", ".join(begun.unused))
    elif not options.plain and not options.resume and recipe.unclustered_epochs == 0:
        logger.warning(
            "The network starts from random weights and clusters from the first epoch on, so that blocks are selected at"
            " random at first. Start from a trained network with --start, or give --unclustered-epochs."
        )
    return model


def new_batches(training: Split, recipe: Recipe) -> Batches:
    augmentation = Augmentation(recipe.augment, recipe.colour_jitter, recipe.erase)
    batches = Batches(training, recipe.batch, recipe.seed, augmentation, Mixing(recipe.mixup, recipe.cutmix))
    if recipe.curriculum:
        batches.grade(recipe.curriculum * batches.steps_per_epoch * recipe.epochs)
    return batches


def new_state(model: TwoStageViT | PlainViT, recipe: Recipe, options: RunOptions, training: Split) -> State:
    # The first optimizer imports torch's compiler, which makes a folder for its cache in TMPDIR unless it is given one.
    # Nothing is compiled here, so nothing is written there.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(options.out.resolve()))
    optimizer = torch.optim.AdamW(decay_groups(model, recipe.weight_decay), lr=recipe.learning_rate, betas=(0.9, 0.98))
    kept = copy.deepcopy(model) if recipe.average else model  # evaluated and written
    run = {
        "recipe": asdict(recipe),
        "config": model.config.to_dict(),
        "plain": options.plain,
        "data": training.describe(),
    }
    return State(run, model, optimizer, kept)


def faults_of(count: int) -> dict[str, int]:
    """The number of pictures that could not be read, where there are any."""
    return {"unreadable": count} if count else {}


def round_to_half(model: nn.Module) -> None:
    """Rounds every parameter to FP16."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half())


def write_model(
    kept: nn.Module, preprocessing: Preprocessing, options: RunOptions, training: Split, threshold: float | None
) -> None:
    """Writes the trained network and, for a two-stage one, its calibration set."""
    assert isinstance(kept, TwoStageViT | PlainViT)
    entries: dict[str, Any] = {"labels": training.classes}
    if not options.plain:
        entries["calibration"] = write_calibration_set(options.model_path, training).sha256
        if threshold is None:
            logger.warning(
                "No threshold is stored: on the validation images, SAC is not better than chance. Train for"
                " longer, or fit one on more images with sacvit-tune."
            )
        else:
            entries["threshold"] = threshold
    kept = kept.cpu()
    save_checkpoint(options.model_path, kept.half() if options.half else kept, preprocessing, **entries)
