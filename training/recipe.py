"""The recipe of a training run: the paper's, its schedule, and its options on the command line.

Sources: SAC-ViT, arXiv 2503.00060; CF-ViT's public code, which has DeiT's settings. No heavy imports: `sacvit-train --help`
reads these fields.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ..bundle.errors import ConfigError


@dataclass(frozen=True)
class Recipe:
    """Shares are of all epochs; the paper trains 350 epochs, the first 200 unclustered."""

    epochs: int = field(default=350, metadata={"help": "Number of passes over the training images."})
    unclustered_epochs: int = field(
        default=200,
        metadata={"help": "Length of the first phase, in which every block is a target and attention is global."},
    )
    warmup_share: float = 0.05
    batch: int = field(default=128, metadata={"help": "Images per step, of all processes together."})
    accumulate: int = field(
        default=1,
        metadata={"help": "Split the images of a step into N passes, which need less memory.", "metavar": "N"},
    )
    learning_rate: float = field(default=8e-4, metadata={"help": "Peak of AdamW's cosine schedule."})
    weight_decay: float = field(default=0.05, metadata={"help": "Weight decay of the matrices."})
    clip_norm: float = 1.0
    curriculum: float = field(
        default=0.0,
        metadata={
            "help": "Go from easy to all images within this share of the steps. Needs difficulty.npy.",
            "metavar": "SHARE",
        },
    )
    augment: bool = field(default=False, metadata={"help": "Crop pictures at random and mirror half of them."})
    colour_jitter: float = field(
        default=0.0,
        metadata={"help": "Change brightness, contrast and saturation by up to this share.", "metavar": "SHARE"},
    )
    erase: float = field(
        default=0.0,
        metadata={"help": "Replace a box of an image by noise with this probability.", "metavar": "PROBABILITY"},
    )
    mixup: float = field(
        default=0.0,
        metadata={"help": "Blend pairs of images and labels with weights from Beta(ALPHA, ALPHA).", "metavar": "ALPHA"},
    )
    cutmix: float = field(
        default=0.0,
        metadata={
            "help": "Swap boxes between pairs of images, with areas from Beta(ALPHA, ALPHA).",
            "metavar": "ALPHA",
        },
    )
    label_smoothing: float = field(
        default=0.0, metadata={"help": "Move this share of the true class to all classes.", "metavar": "SHARE"}
    )
    average: float = field(
        default=0.0,
        metadata={
            "help": "Judge and keep a moving average of the weights with this decay. 0 keeps the last weights.",
            "metavar": "DECAY",
        },
    )
    mixed: bool = field(
        default=False,
        metadata={
            "help": "Compute in bfloat16 where that is safe (GPUs from Ampere on, newer CPUs). Weights stay in FP32."
        },
    )
    seed: int = field(default=0, metadata={"help": "Seed of the weights and of the batches."})

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

    def require_task(self, task: str) -> None:
        """Raises ConfigError for an option that changes an image in a way that a dense task's masks do not follow."""
        names = ("augment", "erase", "mixup", "cutmix")
        moved = [name for name in names if getattr(self, name)]
        if task == "dense" and moved:
            raise ConfigError(
                f"--{moved[0]} changes images, but not the masks of --task dense. Leave it out; --colour-jitter is possible"
            )

    @property
    def mixes_pairs(self) -> bool:
        return self.mixup > 0 or self.cutmix > 0


RECIPES = {  # of --recipe; options take precedence over it
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
    """The moving average's decay at a step: it begins low, so that the first weights fade soon."""
    return min(recipe.average, (1 + step) / (10 + step))
