"""The batches of a run, in an order that follows from the step's number in every process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from ..bundle.errors import ConfigError
from ..bundle.preprocess import ImageU8
from ..images.shards import Shards
from .augment import Augmentation, Mixing
from .dataset import UNTOUCHED, Labels, Split

UNMIXED = Mixing()
ORDER, DRAW, IMAGE, PAIR = range(4)  # the purpose of a generator, as a part of its seed


@dataclass
class Batches:
    """Batches for training, each image once per epoch. The batch of a step depends only on the seed and the step, so that a run
    can be resumed. A part of a batch depends only on its place, so that processes can share it.

    With a curriculum (see `grade`), batches are drawn with replacement: first from the easiest `CURRICULUM_START` of the
    images, and the share grows to all of them.
    """

    split: Split
    batch: int
    seed: int = 0
    augmentation: Augmentation = UNTOUCHED
    mixing: Mixing = UNMIXED

    CURRICULUM_START: ClassVar[float] = 0.3

    def __post_init__(self) -> None:
        if self.augmentation.crop and isinstance(self.split.images, np.ndarray):
            raise ConfigError("--augment works on pictures; arrays are used as they are")
        self.shuffled: tuple[int, Labels] | None = None  # an epoch and its order
        self.graded: tuple[float, Labels] | None = (
            None  # of a curriculum: steps until all images are used, and their order
        )

    def grade(self, steps: float) -> None:
        """Turns the curriculum on: all images are used after that many steps."""
        if self.split.difficulty is None:
            raise ConfigError("a curriculum needs difficulty.npy in the training folder")
        self.graded = steps, np.argsort(self.split.difficulty, kind="stable")

    @property
    def steps_per_epoch(self) -> int:
        return max(1, len(self.split) // self.batch)

    def read(self, step: int, part: slice = slice(None)) -> tuple[ImageU8, npt.NDArray[np.int64 | np.float32]]:
        """Images (batch, S, S, 3) uint8 and labels of a step, or a part of them; the parts add up to the batch.

        The labels are (batch,) int64, of a dense task (batch, 2G, 2G), or where pairs are mixed, (batch, classes) float32 that
        add up to 1.
        """
        indices = (self._next(step) if self.graded is None else self._drawn(step, *self.graded))[part]
        places = range(self.batch)[part]
        images, taken = self.split.read_augmented(
            indices, self.augmentation, [np.random.default_rng((self.seed, IMAGE, step, place)) for place in places]
        )
        labels = self.split.labels[taken].astype(np.int64)
        if not self.mixing.is_on:
            return images, labels
        shares = np.eye(len(self.split.classes), dtype=np.float32)[labels]
        for first in range(0, len(images) - 1, 2):  # neighbours are pairs: no process needs another's images
            both = slice(first, first + 2)
            rng = np.random.default_rng((self.seed, PAIR, step, places[first]))
            images[both], kept = self.mixing.apply(images[both], rng)
            shares[both] = kept * shares[both] + (1 - kept) * shares[both][::-1]
        return images, shares

    def _drawn(self, step: int, steps: float, easiest: Labels) -> Labels:
        share = self.CURRICULUM_START + (1 - self.CURRICULUM_START) * min(1.0, step / steps)
        rng = np.random.default_rng((self.seed, DRAW, step))
        return easiest[rng.integers(max(1, int(share * len(easiest))), size=self.batch)]

    def _next(self, step: int) -> Labels:
        epoch, number = divmod(step, self.steps_per_epoch)
        if self.shuffled is None or self.shuffled[0] != epoch:
            self.shuffled = epoch, self.split.order(np.random.default_rng((self.seed, ORDER, epoch)))
        order, start = self.shuffled[1], number * self.batch
        if isinstance(self.split.images, Shards):
            self.split.images.expect(order, start)
        return np.resize(order[start:], self.batch) if len(order) < self.batch else order[start : start + self.batch]
