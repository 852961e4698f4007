"""Both stages' answers over a validation split, the threshold that follows from them, and the metrics of a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..bundle.gating import may_exit
from ..machine.progress import Progress
from ..model.dense import DensePlainViT, DenseTwoStageViT
from ..model.network import PlainViT, TwoStageViT
from ..profiles.tuning.curve import POINTS, Judged, draw_curve, judge_at
from .dataset import Split
from .dense.score import Cells, JudgedCells, count_cells

EVALUATION_BATCH = 250
TOP = 5
SURE_DEVIATIONS = 2.0  # above chance, in standard deviations: an untrained network reaches it in one of 40 cases


def read_in_turn(split: Split, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Every readable image of a split, (K, S, S, 3) uint8, with its label (K,)."""
    with Progress("judging", len(split), "image") as progress:
        for start in range(0, len(split), EVALUATION_BATCH):
            images, indices = split.read(np.arange(start, min(start + EVALUATION_BATCH, len(split))))
            if len(images):
                yield torch.from_numpy(images).to(device), torch.from_numpy(split.labels[indices]).to(device)
            progress.reach(min(start + EVALUATION_BATCH, len(split)))


@torch.no_grad()
def answer(model: TwoStageViT, split: Split) -> Judged:
    """Runs both stages, clustered, over every image of the split. Times stay 0: they are not those of the device."""
    model.eval()
    rows: list[tuple[Tensor, ...]] = []
    for images, labels in read_in_turn(split, model.cls_token.device):
        ee = model.ee(images)
        sac = model.sac(images, *ee.handed)
        ranks = [logits.topk(min(TOP, logits.shape[1])).indices == labels[:, None] for logits in (ee.logits, sac)]
        rows.append((ee.confidence, *(rank[:, 0] for rank in ranks), *(rank.any(1) for rank in ranks)))
    confidence, ee_right, sac_right, ee_top5, sac_top5 = (
        torch.cat(column).cpu().numpy() for column in zip(*rows, strict=True)
    )
    no_time = np.zeros(len(confidence), np.float32)
    return Judged(confidence.astype(np.float32), ee_right, sac_right, ee_top5, sac_top5, no_time, no_time)


def fit_threshold(judged: Judged) -> float:
    """The threshold of sacvit-tune's point `balanced` on these images; 1 where every threshold lets too many exit.

    Where all images may exit, it is the lowest confidence among them, since no image supports a lower one.
    """
    curve = draw_curve(judged)
    place = POINTS["balanced"](curve)
    if place is None:
        return 1.0
    return curve.eta(place) or float(judged.confidence.min())


def is_above_chance(judged: Judged, split: Split) -> bool:
    """Whether SAC is right more often than an answer that is always the most frequent class."""
    chance = np.bincount(split.labels).max() / len(split)
    deviation = (chance * (1 - chance) / judged.count) ** 0.5
    return bool(judged.sac_right.mean() > chance + SURE_DEVIATIONS * deviation)


@torch.no_grad()
def plain_accuracy(model: PlainViT, split: Split) -> float:
    """Top-1 accuracy of the single-stage network, in [0, 1]."""
    model.eval()
    right = count = 0
    for images, labels in read_in_turn(split, model.cls_token.device):
        right += int((model(images).argmax(-1) == labels).sum())
        count += len(labels)
    return right / count


@torch.no_grad()
def answer_cells(model: DenseTwoStageViT, split: Split) -> JudgedCells:
    """Runs both stages of a dense task over every image of the split."""
    model.eval()
    confidence = []
    ee_cells, sac_cells = list[Cells](), list[Cells]()
    for images, masks in read_in_turn(split, model.cls_token.device):
        ee = model.ee(images)
        confidence.append(ee.confidence.cpu().numpy())
        for cells, logits in ((ee_cells, ee.logits), (sac_cells, model.sac(images, *ee.handed))):
            cells.append(_counted(logits, masks))
    return JudgedCells(np.concatenate(confidence).astype(np.float32), _joined(ee_cells), _joined(sac_cells))


@torch.no_grad()
def plain_cells(model: DensePlainViT, split: Split) -> Cells:
    """How the single-stage network answers the cells of every image of the split."""
    model.eval()
    return _joined([_counted(model(images), masks) for images, masks in read_in_turn(split, model.cls_token.device)])


def _counted(logits: Tensor, masks: Tensor) -> Cells:
    return count_cells(logits.argmax(-1).cpu().numpy(), masks.cpu().numpy(), logits.shape[-1])


def _joined(parts: list[Cells]) -> Cells:
    names = ("answered", "right", "true")
    return Cells(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def evaluate(model: nn.Module, validation: Split) -> dict[str, Any]:
    """Validation metrics, accuracies and mIoU in [0, 1]. Without `threshold` where SAC is not above chance: none can be
    fitted."""
    if isinstance(model, DensePlainViT):
        return {"val_miou": round(plain_cells(model, validation).miou(), 4)}
    if isinstance(model, PlainViT):
        return {"val_top1": round(plain_accuracy(model, validation), 4)}
    if isinstance(model, DenseTwoStageViT):
        return _of_cells(answer_cells(model, validation))
    assert isinstance(model, TwoStageViT)
    judged = answer(model, validation)
    metrics: dict[str, Any] = {
        "val_ee_top1": round(float(judged.ee_right.mean()), 4),
        "val_sac_top1": round(float(judged.sac_right.mean()), 4),
    }
    if not is_above_chance(judged, validation):
        return metrics
    threshold = fit_threshold(judged)
    found = judge_at(judged, threshold)
    return metrics | {"threshold": threshold, "val_top1": round(found.top1, 4), "exit_rate": round(found.exit_rate, 4)}


def _of_cells(judged: JudgedCells) -> dict[str, Any]:
    metrics: dict[str, Any] = {
        "val_ee_miou": round(judged.ee.miou(), 4),
        "val_sac_miou": round(judged.sac.miou(), 4),
    }
    if not judged.is_above_chance():
        return metrics
    threshold = judged.fit_threshold()
    exits = may_exit(judged.confidence, threshold)
    found = {"val_miou": judged.chain(exits).miou(), "exit_rate": float(exits.mean())}
    return metrics | {"threshold": threshold} | {name: round(value, 4) for name, value in found.items()}
