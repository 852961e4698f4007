"""Both stages' answers over a validation split, and what the gate makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..bundle.gating import may_exit
from ..model.network import PlainViT, TwoStageViT
from .dataset import Split

FloatArray = npt.NDArray[np.float64]
EVALUATION_BATCH = 250


@dataclass
class Answers:
    """Per image of a split: whether each stage is right, and the gate's confidence. All (N,)."""

    ee_right: npt.NDArray[np.bool_]
    sac_right: npt.NDArray[np.bool_]
    confidence: FloatArray

    def at(self, threshold: float) -> tuple[float, float]:
        """Top-1 accuracy and exit rate of the chain at a threshold, both in [0, 1]."""
        exits = may_exit(self.confidence, threshold)
        return float(np.where(exits, self.ee_right, self.sac_right).mean()), float(exits.mean())

    def fit_threshold(self, allowed_loss: float) -> float:
        """The smallest threshold, on a grid of 0.01, that loses at most `allowed_loss` of SAC's accuracy."""
        goal = float(self.sac_right.mean()) - allowed_loss
        grid = [step / 100 for step in range(101)]
        return next((eta for eta in grid if self.at(eta)[0] >= goal), 1.0)


def read_in_turn(split: Split, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Every readable image of a split, (K, S, S, 3) uint8, with its label (K,)."""
    for start in range(0, len(split), EVALUATION_BATCH):
        images, indices = split.read(np.arange(start, min(start + EVALUATION_BATCH, len(split))))
        if not len(images):
            continue
        yield torch.from_numpy(images).to(device), torch.from_numpy(split.labels[indices]).to(device)


@torch.no_grad()
def answer(model: TwoStageViT, split: Split) -> Answers:
    """Runs both stages, clustered, over every image of the split."""
    model.eval()
    ee_right, sac_right, confidence = [], [], []
    for images, labels in read_in_turn(split, model.cls_token.device):
        ee = model.ee(images)
        sac = model.sac(images, ee.target_index, ee.target_context, ee.non_target)
        ee_right.append((ee.logits.argmax(-1) == labels).cpu().numpy())
        sac_right.append((sac.argmax(-1) == labels).cpu().numpy())
        confidence.append(ee.confidence.double().cpu().numpy())
    return Answers(np.concatenate(ee_right), np.concatenate(sac_right), np.concatenate(confidence))


@torch.no_grad()
def plain_accuracy(model: PlainViT, split: Split) -> float:
    """Top-1 accuracy of the single-stage network, in [0, 1]."""
    model.eval()
    right = count = 0
    for images, labels in read_in_turn(split, model.cls_token.device):
        right += int((model(images).argmax(-1) == labels).sum())
        count += len(labels)
    return right / count
