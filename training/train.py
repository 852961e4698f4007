"""The training loop: data folder in; metrics.jsonl, last.pth (to resume from) and model.pth out."""

from __future__ import annotations

import copy
import json
import math
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from ..bundle.errors import CheckpointError, ConfigError, SacvitError
from ..bundle.files import written_whole
from ..bundle.preprocess import Preprocessing
from ..model.checkpoint import fill, read_state_dict, save_checkpoint, start_from
from ..model.config import ModelConfig
from ..model.network import PlainViT, TwoStageViT, VisionTransformer
from .dataset import Batches, Split, open_split
from .evaluate import answer, plain_accuracy
from .recipe import Recipe, average_decay, decay_groups, learning_rate_at, two_stage_loss
from .workers import Workers

SAVE_STEPS = 500  # DeiT-S on two cores: a quarter of an hour
ALONE = Workers()
ALLOWED_LOSS = 0.005  # of SAC's accuracy: what the threshold that is stored with the model may cost


def train(
    data: Path,
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
    workers: Workers = ALONE,
) -> dict[str, Any]:
    """Trains a two-stage network (or the plain baseline) and returns the last line of its metrics.

    data: a folder with train/ and val/, see `dataset`. out: where the files go. start: a checkpoint to begin from.
    resume: go on from out/last.pth, which must come from the same recipe. half: store model.pth as FP16; the last
    metrics are measured after that rounding. save_steps: last.pth is written after every so many steps, besides the end of
    an epoch. workers: of the processes that share each batch; the first one judges and writes, and the others return {}.
    """
    workers.require_shares(recipe.batch, recipe.accumulate)
    training, validation = open_data(data, preprocessing, config)
    model = first_model(PlainViT if plain else TwoStageViT, config, preprocessing, recipe, start)
    optimizer = torch.optim.AdamW(decay_groups(model, recipe.weight_decay), lr=recipe.learning_rate, betas=(0.9, 0.98))
    kept = copy.deepcopy(model) if recipe.average else model  # what is judged and written
    steps_per_epoch = max(1, len(training) // recipe.batch)
    steps = steps_per_epoch * recipe.epochs
    batches = Batches(training, recipe.batch, steps, recipe.seed, recipe.curriculum, recipe.augment)
    run = {"recipe": asdict(recipe), "config": config.to_dict(), "plain": plain}
    out.mkdir(parents=True, exist_ok=True)
    if not resume and (out / "last.pth").exists():
        raise ConfigError(f"{out} holds a run already: go on with --resume, or give another --out")
    place = restore(out / "last.pth", run, model, optimizer, kept) if resume else Place()
    workers.wait()  # before the first one writes what the others look for
    learner: nn.Module = Learner(model, recipe.label_smoothing)
    if workers.count > 1:
        learner = DistributedDataParallel(learner)
    if resume and workers.is_first:
        forget_lines(out / "metrics.jsonl", place.epoch)
    metrics: dict[str, Any] = {}

    def save(place: Place) -> None:
        if workers.is_first:
            with written_whole(out / "last.pth") as partial:
                state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), **asdict(place)}
                if kept is not model:
                    state["average"] = kept.state_dict()
                torch.save(state | run, partial)

    with (out / "metrics.jsonl").open("a" if resume else "w") if workers.is_first else nullcontext() as log:
        for epoch in range(place.epoch, recipe.epochs):
            began, first = time.monotonic(), place.step
            loss = train_epoch(
                learner, optimizer, batches, recipe, epoch, steps_per_epoch, place, save_steps, save, workers, kept
            )
            duration_s = time.monotonic() - began
            place = Place(epoch + 1)
            if log is None:
                workers.wait()
                continue
            metrics = {
                "epoch": epoch + 1,
                "clustered": not plain and epoch >= recipe.unclustered_epochs,
                "loss": round(loss, 4),
                "learning_rate": round(optimizer.param_groups[0]["lr"], 7),
                "images_per_s": round((steps_per_epoch - first) * recipe.batch / duration_s, 1),
                "duration_s": round(duration_s, 1),
            }
            metrics |= evaluate(kept, validation)
            note(log, metrics)
            save(place)
            workers.wait()
        if log is None:
            return {}
        if half:
            round_to_half(kept)
        metrics |= {"final": True, "half": half} | evaluate(kept, validation)
        log.write(json.dumps(metrics) + "\n")
    entries = {} if plain else {"threshold": metrics["threshold"]}
    save_checkpoint(out / "model.pth", kept.half() if half else kept, preprocessing, labels=training.classes, **entries)
    return metrics


def open_data(data: Path, preprocessing: Preprocessing, config: ModelConfig) -> tuple[Split, Split]:
    """train/ and val/. Raises ConfigError when their classes differ from each other's or the model's."""
    training, validation = (open_split(data / name, preprocessing) for name in ("train", "val"))
    if validation.classes != training.classes:
        apart = sorted(set(training.classes) ^ set(validation.classes)) or "the same names in another order"
        raise ConfigError(f"{data}: train/ and val/ must have the same classes; they differ in {apart}")
    if len(training.classes) != config.classes:
        raise ConfigError(f"{data} has {len(training.classes)} classes, the model {config.classes}; they must agree")
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
        untouched = start_from(model, start)
        print(f"started from {start}; left as initialised: {', '.join(untouched) or 'nothing'}", file=sys.stderr)
    return model


def round_to_half(model: nn.Module) -> None:
    """Every parameter becomes a number that FP16 has."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half())


def note(log: TextIO, metrics: dict[str, Any]) -> None:
    """A line into the log and onto stderr."""
    log.write(json.dumps(metrics) + "\n")
    log.flush()
    print(" ".join(f"{key}={value}" for key, value in metrics.items()), file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Place:
    """Where a run is: epochs done, and of the next one the steps and the sum of their losses."""

    epoch: int = 0
    step: int = 0
    total: float = 0.0


class Learner(nn.Module):
    """The network with its loss: one module, whose forward is what processes have to agree on."""

    def __init__(self, network: TwoStageViT | PlainViT, label_smoothing: float) -> None:
        super().__init__()
        self.network, self.label_smoothing = network, label_smoothing

    def forward(self, images: Tensor, labels: Tensor, clustered: bool) -> Tensor:
        """The mean loss of the images."""
        if isinstance(self.network, TwoStageViT):
            return two_stage_loss(self.network, images, labels, clustered, self.label_smoothing)
        return F.cross_entropy(self.network(images), labels, label_smoothing=self.label_smoothing)


def train_epoch(
    learner: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    recipe: Recipe,
    epoch: int,
    steps_per_epoch: int,
    place: Place,
    save_steps: int,
    save: Callable[[Place], None],
    workers: Workers,
    kept: nn.Module,
) -> float:
    """What is left of one epoch; returns its mean loss. kept: the moving average, where there is one.

    The next batch is read while the current one is trained on.
    """
    learner.train()
    clustered = epoch >= recipe.unclustered_epochs
    steps = range(epoch * steps_per_epoch + place.step, (epoch + 1) * steps_per_epoch)
    total, part = place.total, workers.part(recipe.batch)
    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(batches.read, steps[0], part)
        for step in tqdm(
            steps,
            desc=f"epoch {epoch + 1}/{recipe.epochs}",
            disable=not (sys.stderr.isatty() and workers.is_first),
            leave=False,
        ):
            images, labels = (torch.from_numpy(array) for array in ahead.result())
            ahead = reader.submit(batches.read, step + 1, part)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(recipe, step, batches.steps)
            optimizer.zero_grad()
            loss = workers.mean(backward(learner, images, labels, clustered, recipe.accumulate))
            if not math.isfinite(loss):
                raise SacvitError(f"the loss became {loss} at step {step}; lower --learning-rate")
            torch.nn.utils.clip_grad_norm_(learner.parameters(), recipe.clip_norm)
            optimizer.step()
            if recipe.average:
                follow(kept, learner, average_decay(recipe, step))
            total += loss
            done = step + 1 - epoch * steps_per_epoch
            if done % save_steps == 0 and done < steps_per_epoch:
                save(Place(epoch, done, total))
    return total / steps_per_epoch


@torch.no_grad()
def follow(kept: nn.Module, learner: nn.Module, decay: float) -> None:
    """Moves the average towards the weights of now."""
    for average, now in zip(kept.parameters(), learner.parameters(), strict=True):
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


def forget_lines(path: Path, epochs: int) -> None:
    """Leaves the metrics of the epochs that are done: a kill may have come between a line and its state."""
    if path.is_file():
        lines = [line for line in path.read_text("utf-8").splitlines() if _is_of(line, epochs)]
        with written_whole(path) as partial:
            partial.write_text("".join(f"{line}\n" for line in lines), "utf-8")


def _is_of(line: str, epochs: int) -> bool:
    try:
        content = json.loads(line)
        return bool(content["epoch"] <= epochs and "final" not in content)
    except (ValueError, KeyError, TypeError):
        return False  # cut by a kill


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


def restore(
    path: Path, run: dict[str, Any], model: VisionTransformer, optimizer: torch.optim.Optimizer, kept: VisionTransformer
) -> Place:
    """Puts a run back where last.pth left it; returns the place. Raises CheckpointError for another run's file."""
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist: there is nothing to resume. Run without --resume")
    state = read_state_dict(path)
    for key, value in run.items():
        if state.entries.get(key) != value:
            found = state.entries.get(key)
            raise CheckpointError(f"{path} comes from another run: its {key} is {found}, this run's is {value}")
    fill(model, state)
    try:
        optimizer.load_state_dict(state.entries["optimizer"])
        if kept is not model:
            kept.load_state_dict(state.entries["average"])
        return Place(int(state.entries["epoch"]), int(state.entries["step"]), float(state.entries["total"]))
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as reason:
        raise CheckpointError(f"{path} is no state to resume from: {reason}. Run without --resume") from None
