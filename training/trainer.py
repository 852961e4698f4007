"""The steps of a run: passes, gradients, the optimizer, and the moving average of the weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from ..bundle.errors import SacvitError
from ..machine.progress import Progress
from ..model.network import PlainViT, TwoStageViT
from .batches import Batches
from .loader import Loader
from .loss import cross_entropy, two_stage_loss
from .recipe import Recipe, average_decay, learning_rate_at
from .resume import Place, State
from .workers import Workers


class Learner(nn.Module):
    """The network with its loss as one module, whose forward pass torch synchronises between processes."""

    def __init__(self, network: TwoStageViT | PlainViT, label_smoothing: float, mixed: bool = False) -> None:
        super().__init__()
        self.network, self.label_smoothing, self.mixed = network, label_smoothing, mixed

    def forward(self, images: Tensor, labels: Tensor, clustered: bool) -> Tensor:
        """The mean loss of the images (B, S, S, 3) uint8; labels: see two_stage_loss."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.mixed):
            if isinstance(self.network, TwoStageViT):
                return two_stage_loss(self.network, images, labels, clustered, self.label_smoothing)
            return cross_entropy(self.network(images), labels, self.label_smoothing)


class Trainer:
    """One process's share of a run, epoch by epoch."""

    def __init__(self, recipe: Recipe, state: State, batches: Batches, workers: Workers) -> None:
        self.recipe, self.state, self.batches, self.workers = recipe, state, batches, workers
        self.steps = batches.steps_per_epoch * recipe.epochs
        self.largest_gradient = 0.0  # of the steps of this epoch, before it was clipped
        self.learner: nn.Module = Learner(state.model, recipe.label_smoothing, recipe.mixed)  # type: ignore[arg-type]
        if workers.count > 1:
            self.learner = DistributedDataParallel(self.learner)

    def epoch(self, place: Place, save_steps: int, save: Callable[[Place], None]) -> dict[str, Any]:
        """Trains the rest of one epoch and returns its metrics. The next batches are read while one is trained on."""
        recipe, per_epoch = self.recipe, self.batches.steps_per_epoch
        begin, end = place.epoch * per_epoch, (place.epoch + 1) * per_epoch
        part = self.workers.part(recipe.batch)
        loader = Loader(self.batches, range(begin + place.step, end), part, self.workers.device)
        clustered = place.epoch >= recipe.unclustered_epochs
        began, total, self.largest_gradient = time.monotonic(), place.total, 0.0
        self.learner.train()
        title, images_left = f"epoch {place.epoch + 1} of {recipe.epochs}", len(loader.steps) * recipe.batch
        with Progress(title, images_left, "image", is_shown=self.workers.is_first) as progress:
            for number, (step, images, labels) in enumerate(loader, start=1):
                total += self.step(step, images, labels, clustered)
                done = step + 1 - begin
                if done % save_steps == 0 and done < per_epoch:
                    save(Place(place.epoch, done, total))
                run_left_s = (time.monotonic() - began) / number * (self.steps - step - 1)
                note = f"loss {total / done:.4f}, {tqdm.format_interval(run_left_s)} left of the run"
                progress.step(recipe.batch, note)
        duration_s = time.monotonic() - began
        return {
            "epoch": place.epoch + 1,
            "clustered": isinstance(self.state.model, TwoStageViT) and clustered,
            "loss": round(total / per_epoch, 4),
            "largest_gradient": round(self.largest_gradient, 3),
            "learning_rate": round(self.state.optimizer.param_groups[0]["lr"], 7),
            **loader.pace(duration_s, self.workers.count),
            "duration_s": round(duration_s, 1),
        }

    def step(self, step: int, images: Tensor, labels: Tensor, clustered: bool) -> float:
        """Runs one step of the optimizer; returns the mean loss of all processes."""
        optimizer, recipe = self.state.optimizer, self.recipe
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(recipe, step, self.steps)
        optimizer.zero_grad()
        loss = self.workers.mean(backward(self.learner, images, labels, clustered, recipe.accumulate))
        if not math.isfinite(loss):
            raise SacvitError(f"the loss became {loss} at step {step}; lower --learning-rate")
        slope = float(torch.nn.utils.clip_grad_norm_(self.learner.parameters(), recipe.clip_norm))
        if not math.isfinite(slope):  # the step would spoil the weights, and saving them would prevent a resume
            raise SacvitError(f"the gradients became {slope} at step {step}; lower --learning-rate")
        self.largest_gradient = max(self.largest_gradient, slope)
        optimizer.step()
        if recipe.average:
            follow(self.state.kept, self.state.model, average_decay(recipe, step))
        return loss


@torch.no_grad()
def follow(kept: nn.Module, model: nn.Module, decay: float) -> None:
    """Moves the average towards the current weights."""
    for average, now in zip(kept.parameters(), model.parameters(), strict=True):
        average.lerp_(now, 1 - decay)


def backward(learner: nn.Module, images: Tensor, labels: Tensor, clustered: bool, passes: int) -> float:
    """Adds the gradients of the mean loss, in as many passes of equal size; returns that loss."""
    total = 0.0
    for number, (some, some_labels) in enumerate(zip(images.chunk(passes), labels.chunk(passes), strict=True), start=1):
        # Processes exchange gradients once per step, in its last pass.
        is_quiet = isinstance(learner, DistributedDataParallel) and number < passes
        with learner.no_sync() if is_quiet else nullcontext():  # type: ignore[operator]
            loss = learner(some, some_labels, clustered) / passes
            loss.backward()
        total += float(loss.detach())
    return total
