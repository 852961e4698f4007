"""The paper's training recipe: its loss, its two phases and its learning-rate schedule.

Sources: SAC-ViT, arXiv 2503.00060; CF-ViT's public code, from which the phases and the distillation come.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from ..bundle.errors import ConfigError
from ..model.network import TwoStageViT
from .augment import Augmentation, Mixing


@dataclass(frozen=True)
class Recipe:
    """What a training run is. Shares are of all epochs; the paper trains 350 epochs, the first 200 unclustered."""

    epochs: int = 350
    unclustered_epochs: int = 200
    warmup_share: float = 0.05
    batch: int = 128
    accumulate: int = 1  # passes that a step's batch is split into, in each process
    learning_rate: float = 8e-4
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    curriculum: float = 0.0
    augment: bool = False
    colour_jitter: float = 0.0
    erase: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    label_smoothing: float = 0.0
    average: float = 0.0  # decay of the weights' moving average, which is judged and kept; 0 keeps the last weights
    mixed: bool = False  # passes in bfloat16 where that is safe; weights, gradients' sums and losses in FP32
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1:
            raise ConfigError(f"epochs and batch must be at least 1, found {self.epochs} and {self.batch}")
        if self.accumulate < 1 or self.batch % self.accumulate:
            raise ConfigError(f"--accumulate {self.accumulate} must divide the batch, {self.batch}")
        if not 0 <= self.unclustered_epochs <= self.epochs:
            raise ConfigError(
                f"unclustered epochs must lie in 0 .. {self.epochs} (the epochs), found {self.unclustered_epochs}"
            )
        if not 0 <= self.curriculum <= 1:
            raise ConfigError(f"the curriculum's share must lie in [0, 1], found {self.curriculum}")
        if not 0 <= self.warmup_share <= 1:
            raise ConfigError(f"the warm-up's share must lie in [0, 1], found {self.warmup_share}")
        if not 0 <= self.weight_decay < float("inf"):
            raise ConfigError(f"the weight decay must be at least 0, found {self.weight_decay}")
        if not 0 <= self.label_smoothing < 1 or not 0 <= self.average < 1:
            raise ConfigError(
                f"label smoothing and average must lie in [0, 1), found {self.label_smoothing} and {self.average}"
            )
        if not 0 <= self.colour_jitter <= 1 or not 0 <= self.erase <= 1:
            raise ConfigError(
                f"colour jitter and erase must lie in [0, 1], found {self.colour_jitter} and {self.erase}"
            )
        if not 0 <= self.mixup < float("inf") or not 0 <= self.cutmix < float("inf"):
            raise ConfigError(f"mixup and cutmix must be at least 0, found {self.mixup} and {self.cutmix}")
        if self.seed < 0:
            raise ConfigError(f"the seed must be at least 0, found {self.seed}")
        if not self.learning_rate > 0:
            raise ConfigError(f"the learning rate must be above 0, found {self.learning_rate}")

    @property
    def augmentation(self) -> Augmentation:
        return Augmentation(self.augment, self.colour_jitter, self.erase)

    @property
    def mixing(self) -> Mixing:
        return Mixing(self.mixup, self.cutmix)


RECIPES = {  # of --recipe; what an option says goes before it
    # arXiv 2503.00060: 350 epochs, the first 200 unclustered; CF-ViT's public code, which has DeiT's, for the rest
    "paper": Recipe(
        epochs=350,
        unclustered_epochs=200,
        batch=1024,
        learning_rate=1e-3,
        label_smoothing=0.1,
        augment=True,
        colour_jitter=0.4,
        erase=0.25,
        mixup=0.8,
        cutmix=1.0,
    ),
    # From a trained checkpoint (--start): short, clustered from the start, a tenth of the learning rate
    "finetune": Recipe(
        epochs=30, unclustered_epochs=0, batch=64, learning_rate=1e-4, label_smoothing=0.1, average=0.999, augment=True
    ),
}


def learning_rate_at(recipe: Recipe, step: int, steps: int) -> float:
    """Linear warm-up, then a cosine down to 1 % of the peak."""
    warmup = max(1, int(recipe.warmup_share * steps))
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return recipe.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def average_decay(recipe: Recipe, step: int) -> float:
    """The moving average's decay at a step: it begins low, so that the first weights do not stay in it for long."""
    return min(recipe.average, (1 + step) / (10 + step))


def two_stage_loss(
    model: TwoStageViT, images: Tensor, labels: Tensor, clustered: bool, label_smoothing: float = 0.0
) -> Tensor:
    """CE(SAC, labels) + KL(SAC || EE), the SAC side detached: SAC learns the task, EE learns to agree with SAC.

    images: (B, S, S, 3) uint8; labels: (B,), or (B, C) shares of mixed images. Unclustered, every block is a target and
    attention is global.
    """
    if clustered:
        ee = model.ee(images)
        ee_logits = ee.logits
        sac_logits = model.sac(images, ee.target_index, ee.target_context, ee.non_target)
    else:
        ee_logits, context = model.ee_of_all_blocks(images)
        sac_logits = model.sac_of_all_blocks(images, context)
    ee_logits, sac_logits = ee_logits.float(), sac_logits.float()
    teacher = sac_logits.detach().softmax(-1)
    distillation = F.kl_div(ee_logits.log_softmax(-1), teacher, reduction="batchmean")
    return F.cross_entropy(sac_logits, labels, label_smoothing=label_smoothing) + distillation


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Weight decay for matrices only: not for biases, norms, class token and position tables (DeiT's rule)."""
    tables = ("cls_token", "pos_embed", "pos_embed_list.0", "pos_embed_list.1")
    decayed = [p for name, p in model.named_parameters() if p.ndim > 1 and name not in tables]
    others = [p for name, p in model.named_parameters() if p.ndim <= 1 or name in tables]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
