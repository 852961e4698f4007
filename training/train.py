"""The training loop: data folder in; metrics.jsonl, last.pth (to resume from) and model.pth out."""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tqdm import tqdm

from ..bundle.errors import CheckpointError, ConfigError, SacvitError
from ..bundle.files import written_whole
from ..bundle.preprocess import Preprocessing
from ..model.checkpoint import fill, read_state_dict, save_checkpoint, start_from
from ..model.config import ModelConfig
from ..model.network import PlainViT, TwoStageViT, VisionTransformer
from .dataset import Batches, Split, open_split
from .evaluate import answer, plain_accuracy
from .recipe import Recipe, decay_groups, learning_rate_at, two_stage_loss

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
) -> dict[str, Any]:
    """Trains a two-stage network (or the plain baseline) and returns the last line of its metrics.

    data: a folder with train/ and val/, see `dataset`. out: where the files go. start: a checkpoint to begin from.
    resume: go on from out/last.pth, which must come from the same recipe. half: store model.pth as FP16; the last
    metrics are measured after that rounding.
    """
    training, validation = (open_split(data / name, preprocessing) for name in ("train", "val"))
    if validation.classes != training.classes:
        apart = sorted(set(training.classes) ^ set(validation.classes)) or "the same names in another order"
        raise ConfigError(f"{data}: train/ and val/ must have the same classes; they differ in {apart}")
    if len(training.classes) != config.classes:
        raise ConfigError(f"{data} has {len(training.classes)} classes, the model {config.classes}; they must agree")
    torch.manual_seed(recipe.seed)
    network = PlainViT if plain else TwoStageViT
    model = network(config, preprocessing.mean, preprocessing.std)
    if start is not None:
        untouched = start_from(model, start)
        print(f"started from {start}; left as initialised: {', '.join(untouched) or 'nothing'}", file=sys.stderr)
    optimizer = torch.optim.AdamW(decay_groups(model, recipe.weight_decay), lr=recipe.learning_rate, betas=(0.9, 0.98))
    steps_per_epoch = max(1, len(training) // recipe.batch)
    steps = steps_per_epoch * recipe.epochs
    batches = Batches(training, recipe.batch, steps, recipe.seed, recipe.curriculum, recipe.augment)
    run = {"recipe": asdict(recipe), "config": config.to_dict(), "plain": plain}
    out.mkdir(parents=True, exist_ok=True)
    if not resume and (out / "last.pth").exists():
        raise ConfigError(f"{out} holds a run already: go on with --resume, or give another --out")
    first_epoch = restore(out / "last.pth", run, model, optimizer) if resume else 0
    entries: dict[str, Any] = {"labels": training.classes}
    metrics: dict[str, Any] = {}
    with (out / "metrics.jsonl").open("a" if resume else "w") as log:
        for epoch in range(first_epoch, recipe.epochs):
            began = time.monotonic()
            loss = train_epoch(model, optimizer, batches, recipe, epoch, steps_per_epoch)
            duration_s = time.monotonic() - began
            metrics = {
                "epoch": epoch + 1,
                "clustered": not plain and epoch >= recipe.unclustered_epochs,
                "loss": round(loss, 4),
                "learning_rate": round(optimizer.param_groups[0]["lr"], 7),
                "images_per_s": round(steps_per_epoch * recipe.batch / duration_s, 1),
                "duration_s": round(duration_s, 1),
            }
            metrics |= evaluate(model, validation)
            log.write(json.dumps(metrics) + "\n")
            log.flush()
            print(" ".join(f"{key}={value}" for key, value in metrics.items()), file=sys.stderr, flush=True)
            with written_whole(out / "last.pth") as partial:
                state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch + 1}
                torch.save(state | run, partial)
        if half:
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.copy_(parameter.half())
        metrics |= {"final": True, "half": half} | evaluate(model, validation)
        log.write(json.dumps(metrics) + "\n")
    if not plain:
        entries["threshold"] = metrics["threshold"]
    save_checkpoint(out / "model.pth", model.half() if half else model, preprocessing, **entries)
    return metrics


def train_epoch(
    model: TwoStageViT | PlainViT,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    recipe: Recipe,
    epoch: int,
    steps_per_epoch: int,
) -> float:
    """One epoch; returns the mean loss. The next batch is read while the current one is trained on."""
    model.train()
    clustered = epoch >= recipe.unclustered_epochs
    steps = range(epoch * steps_per_epoch, (epoch + 1) * steps_per_epoch)
    total = 0.0
    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(batches.read, steps[0])
        for step in tqdm(
            steps, desc=f"epoch {epoch + 1}/{recipe.epochs}", disable=not sys.stderr.isatty(), leave=False
        ):
            images, labels = (torch.from_numpy(array) for array in ahead.result())
            ahead = reader.submit(batches.read, step + 1)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(recipe, step, batches.steps)
            if isinstance(model, TwoStageViT):
                loss = two_stage_loss(model, images, labels, clustered)
            else:
                loss = F.cross_entropy(model(images), labels)
            if not torch.isfinite(loss):
                raise SacvitError(f"the loss became {loss.item()} at step {step}; lower --learning-rate")
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
            optimizer.step()
            total += loss.item()
    return total / steps_per_epoch


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


def restore(path: Path, run: dict[str, Any], model: VisionTransformer, optimizer: torch.optim.Optimizer) -> int:
    """Puts a run back where last.pth left it; returns the epochs done. Raises CheckpointError for another run's file."""
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
        return int(state.entries["epoch"])
    except (KeyError, ValueError, TypeError, AttributeError) as reason:
        raise CheckpointError(f"{path} is no state to resume from: {reason}. Run without --resume") from None
