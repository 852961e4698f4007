"""The training loop: data folder in; metrics.jsonl, last.pth (to resume from) and model.pth out."""

from __future__ import annotations

import copy
import logging
import math
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from ..bundle.errors import ConfigError, SacvitError
from ..bundle.preprocess import Preprocessing
from ..model.checkpoint import start_from
from ..model.config import ModelConfig
from ..model.network import PlainViT, TwoStageViT
from ..model.write_checkpoint import save_checkpoint
from .calibration_set import write_calibration_set
from .dataset import Batches, Split, open_split
from .evaluate import answer, plain_accuracy
from .loader import Loader
from .log import Log
from .recipe import Recipe, average_decay, decay_groups, learning_rate_at, two_stage_loss
from .resume import Place, State, forget_halves, require_no_run
from .workers import Workers

logger = logging.getLogger(__name__)
SAVE_STEPS = 500  # DeiT-S on two cores: a quarter of an hour
ALONE = Workers()
ALLOWED_LOSS = 0.005  # of SAC's accuracy: what the threshold that is stored with the model may cost


def train(
    data: Path | tuple[Split, Split],
    out: Path,
    config: ModelConfig,
    preprocessing: Preprocessing,
    recipe: Recipe,
    *,
    plain: bool = False,
    start: Path | None = None,
    resume: bool = False,
    half: bool = False,
    save_steps: int = SAVE_STEPS,
    tensorboard: bool = False,
    workers: Workers = ALONE,
) -> dict[str, Any]:
    """Trains a two-stage network (or the plain baseline) and returns the last line of its metrics.

    data: a folder with train/ and val/, see `dataset`, or what `open_data` made of it. out: where the files go. start: a
    checkpoint to begin from. resume: go on from out/last.pth, which must come from the same recipe and data. half: store
    model.pth as FP16; the last metrics are measured after that rounding. save_steps: last.pth is written after every so
    many steps, besides the end of an epoch. tensorboard: curves into out/tensorboard. workers: of the processes that
    share each batch; the first one judges and writes, and the others return {}.
    """
    workers.require_shares(recipe.batch, recipe.accumulate, recipe.mixing.is_on)
    training, validation = open_data(data, preprocessing) if isinstance(data, Path) else data
    if len(training.classes) != config.classes:
        raise ConfigError(
            f"the training data has {len(training.classes)} classes, the model {config.classes}; they must agree"
        )
    model = first_model(PlainViT if plain else TwoStageViT, config, preprocessing, recipe, start).to(workers.device)
    optimizer = torch.optim.AdamW(decay_groups(model, recipe.weight_decay), lr=recipe.learning_rate, betas=(0.9, 0.98))
    kept = copy.deepcopy(model) if recipe.average else model  # what is judged and written
    batches = Batches(training, recipe.batch, recipe.seed, recipe.augmentation, recipe.mixing)
    steps = batches.steps_per_epoch * recipe.epochs
    if recipe.curriculum:
        batches.grade(recipe.curriculum * steps)
    run = {"recipe": asdict(recipe), "config": config.to_dict(), "plain": plain, "data": training.describe()}
    state = State(run, model, optimizer, kept)
    out.mkdir(parents=True, exist_ok=True)
    if not resume:
        require_no_run(out)
    place = state.restore(out / "last.pth") if resume else Place()
    workers.require_same(run | {"place": asdict(place)})  # before the first one writes what the others look for
    learner: nn.Module = Learner(model, recipe.label_smoothing, recipe.mixed)
    if workers.count > 1:
        learner = DistributedDataParallel(learner)
    trainer = Trainer(recipe, learner, state, batches, workers, steps)
    metrics: dict[str, Any] = {}

    def save(place: Place) -> None:
        if workers.is_first:
            state.save(out / "last.pth", place)

    if workers.is_first:
        forget_halves(out)
    with Log(out, place.epoch if resume else None, tensorboard) if workers.is_first else nullcontext() as log:
        for epoch in range(place.epoch, recipe.epochs):
            metrics = trainer.epoch(place, save_steps, save)
            place = Place(epoch + 1)
            unreadable = set().union(*workers.gather(set(training.faults)))  # each process reads its own part
            if log is not None:
                metrics |= evaluate(kept, validation) | told_faults(len(unreadable) + len(validation.faults))
                log.note(metrics)
            save(place)
            workers.wait()
        if log is None:
            return {}
        if half:
            round_to_half(kept)
        metrics |= {"epoch": recipe.epochs, "final": True, "half": half} | evaluate(kept, validation)
        log.note(metrics, quiet=True)
    entries: dict[str, Any] = {}
    if not plain:
        calibration = write_calibration_set(out / "model.pth", training)
        entries = {"threshold": metrics["threshold"], "calibration": calibration.sha256}
    kept = kept.cpu()
    save_checkpoint(out / "model.pth", kept.half() if half else kept, preprocessing, labels=training.classes, **entries)
    return metrics


def open_data(data: Path, preprocessing: Preprocessing) -> tuple[Split, Split]:
    """train/ and val/. Raises ConfigError when their classes differ."""
    training, validation = (open_split(data / name, preprocessing) for name in ("train", "val"))
    if validation.classes != training.classes:
        apart = sorted(set(training.classes) ^ set(validation.classes)) or "the same names in another order"
        raise ConfigError(f"{data}: train/ and val/ must have the same classes; they differ in {apart}")
    return training, validation


def first_model(
    network: type[TwoStageViT | PlainViT],
    config: ModelConfig,
    preprocessing: Preprocessing,
    recipe: Recipe,
    start: Path | None,
) -> TwoStageViT | PlainViT:
    """The network as the recipe's seed makes it, and what `start` has of it in place of that."""
    torch.manual_seed(recipe.seed)
    model = network(config, preprocessing.mean, preprocessing.std)
    if start is not None:
        begun = start_from(model, start)
        logger.info("started from %s; left as initialised: %s", start, ", ".join(begun.initialised) or "nothing")
        if begun.unused:
            logger.warning("not used of %s: %s", start, ", ".join(begun.unused))
    return model


def round_to_half(model: nn.Module) -> None:
    """Every parameter becomes a number that FP16 has."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half())


def told_faults(count: int) -> dict[str, int]:
    """The number of pictures that could not be read, where there are any."""
    return {"unreadable": count} if count else {}


class Learner(nn.Module):
    """The network with its loss: one module, whose forward is what processes have to agree on."""

    def __init__(self, network: TwoStageViT | PlainViT, label_smoothing: float, mixed: bool = False) -> None:
        super().__init__()
        self.network, self.label_smoothing, self.mixed = network, label_smoothing, mixed

    def forward(self, images: Tensor, labels: Tensor, clustered: bool) -> Tensor:
        """The mean loss of the images (B, S, S, 3) uint8; labels: (B,), or (B, C) shares."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.mixed):
            if isinstance(self.network, TwoStageViT):
                return two_stage_loss(self.network, images, labels, clustered, self.label_smoothing)
            return F.cross_entropy(self.network(images).float(), labels, label_smoothing=self.label_smoothing)


class Trainer:
    """One process's share of a run, epoch by epoch."""

    def __init__(
        self, recipe: Recipe, learner: nn.Module, state: State, batches: Batches, workers: Workers, steps: int
    ) -> None:
        self.recipe, self.learner, self.state = recipe, learner, state
        self.batches, self.workers, self.steps = batches, workers, steps

    def epoch(self, place: Place, save_steps: int, save: Callable[[Place], None]) -> dict[str, Any]:
        """What is left of one epoch; returns its metrics. The next batches are read while one is trained on."""
        recipe, per_epoch = self.recipe, self.batches.steps_per_epoch
        begin, end = place.epoch * per_epoch, (place.epoch + 1) * per_epoch
        part = self.workers.part(recipe.batch)
        loader = Loader(self.batches, range(begin + place.step, end), part, self.workers.device)
        clustered = place.epoch >= recipe.unclustered_epochs
        began, total = time.monotonic(), place.total
        self.learner.train()
        for step, images, labels in tqdm(
            loader,
            desc=f"epoch {place.epoch + 1}/{recipe.epochs}",
            total=len(loader.steps),
            disable=not (sys.stderr.isatty() and self.workers.is_first),
            leave=False,
        ):
            total += self.step(step, images, labels, clustered)
            done = step + 1 - begin
            if done % save_steps == 0 and done < per_epoch:
                save(Place(place.epoch, done, total))
        duration_s = time.monotonic() - began
        return {
            "epoch": place.epoch + 1,
            "clustered": isinstance(self.state.model, TwoStageViT) and clustered,
            "loss": round(total / per_epoch, 4),
            "learning_rate": round(self.state.optimizer.param_groups[0]["lr"], 7),
            **loader.pace(duration_s, self.workers.count),
            "duration_s": round(duration_s, 1),
        }

    def step(self, step: int, images: Tensor, labels: Tensor, clustered: bool) -> float:
        """One step of the optimizer; returns the loss, the mean over all processes."""
        optimizer, recipe = self.state.optimizer, self.recipe
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(recipe, step, self.steps)
        optimizer.zero_grad()
        loss = self.workers.mean(backward(self.learner, images, labels, clustered, recipe.accumulate))
        if not math.isfinite(loss):
            raise SacvitError(f"the loss became {loss} at step {step}; lower --learning-rate")
        slope = float(torch.nn.utils.clip_grad_norm_(self.learner.parameters(), recipe.clip_norm))
        if not math.isfinite(slope):  # the step would spoil the weights, and a save of them the way back
            raise SacvitError(f"the gradients became {slope} at step {step}; lower --learning-rate")
        optimizer.step()
        if recipe.average:
            follow(self.state.kept, self.state.model, average_decay(recipe, step))
        return loss


@torch.no_grad()
def follow(kept: nn.Module, model: nn.Module, decay: float) -> None:
    """Moves the average towards the weights of now."""
    for average, now in zip(kept.parameters(), model.parameters(), strict=True):
        average.lerp_(now, 1 - decay)


def backward(learner: nn.Module, images: Tensor, labels: Tensor, clustered: bool, passes: int) -> float:
    """Adds the gradients of the mean loss, in as many passes of equal size; returns that loss."""
    total = 0.0
    for number, (some, some_labels) in enumerate(zip(images.chunk(passes), labels.chunk(passes), strict=True), start=1):
        # Processes speak to each other once a step: in its last pass.
        is_quiet = isinstance(learner, DistributedDataParallel) and number < passes
        with learner.no_sync() if is_quiet else nullcontext():  # type: ignore[operator]
            loss = learner(some, some_labels, clustered) / passes
            loss.backward()
        total += float(loss.detach())
    return total


def evaluate(model: TwoStageViT | PlainViT, validation: Split) -> dict[str, Any]:
    """Validation metrics, accuracies in [0, 1]."""
    if isinstance(model, PlainViT):
        return {"val_top1": round(plain_accuracy(model, validation), 4)}
    answers = answer(model, validation)
    threshold = answers.fit_threshold(ALLOWED_LOSS)
    top1, exit_rate = answers.at(threshold)
    return {
        "val_ee_top1": round(float(answers.ee_right.mean()), 4),
        "val_sac_top1": round(float(answers.sac_right.mean()), 4),
        "threshold": threshold,
        "val_top1": round(top1, 4),
        "exit_rate": round(exit_rate, 4),
    }
