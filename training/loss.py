"""The paper's loss, and the groups of weights for weight decay.

Sources: SAC-ViT, arXiv 2503.00060; CF-ViT's public code, the source of the phases and the distillation.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..model.network import TwoStageViT


def two_stage_loss(
    model: TwoStageViT, images: Tensor, labels: Tensor, clustered: bool, label_smoothing: float = 0.0
) -> Tensor:
    """CE(SAC, labels) + KL(SAC || EE), with SAC detached in the second term: SAC learns the task, EE learns to agree with SAC.

    images: (B, S, S, 3) uint8; labels: (B,), or (B, C) shares of mixed images; of a dense task (B, 2G, 2G), and both terms are
    means over all cells. Unclustered, every block is a target and attention is global.
    """
    if clustered:
        ee = model.ee(images)
        ee_logits = ee.logits
        sac_logits = model.sac(images, *ee.handed)
    else:
        ee_logits, context = model.ee_of_all_blocks(images)
        sac_logits = model.sac_of_all_blocks(images, context)
    ee_logits, sac_logits = by_answer(ee_logits), by_answer(sac_logits)
    teacher = sac_logits.detach().softmax(-1)
    distillation = F.kl_div(ee_logits.log_softmax(-1), teacher, reduction="batchmean")
    return cross_entropy(sac_logits, labels, label_smoothing) + distillation


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    """The mean over images or, of a dense task, cells."""
    logits = by_answer(logits)
    if labels.ndim > 2:
        labels = labels.flatten()
    return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)


def by_answer(logits: Tensor) -> Tensor:
    """(.., C) -> (answers, C) in FP32: one row per image, or per cell of each image."""
    return logits.flatten(0, -2).float()


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Weight decay for matrices only: not for biases, norms, class token and position tables (DeiT's rule)."""
    tables = ("cls_token", "pos_embed", "pos_embed_list.0", "pos_embed_list.1", "patch_embed.pos_embed")
    decayed = [p for name, p in model.named_parameters() if p.ndim > 1 and name not in tables]
    others = [p for name, p in model.named_parameters() if p.ndim <= 1 or name in tables]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
