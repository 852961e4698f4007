"""Both stages' answers over a validation split, and the threshold that follows from them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ..machine.progress import Progress
from ..model.network import PlainViT, TwoStageViT
from ..profiles.tuning.curve import POINTS, Judged, draw_curve
from .dataset import Split

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
        sac = model.sac(images, ee.target_index, ee.target_context, ee.non_target)
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
