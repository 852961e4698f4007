"""Dense prediction: networks that answer for each cell of the fine grid, and the table of networks by task.

Logits are (B, 2G, 2G, C). A fine token answers for its cell through `head`. A coarse token answers for the 2 x 2 cells of its
block through `coarse_head`, which has 4 C rows: cells in row-major order, classes inside a cell. docs/dense.md has the reasons.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import ModelConfig, Task
from .layers import initialise, take
from .network import Coarse, PlainViT, TwoStageViT


class DenseTwoStageViT(TwoStageViT):
    """Both stages with an answer per cell. SAC's non-target blocks keep one coarse token each."""

    coarse_head: nn.Linear

    def __init__(self, config: ModelConfig, *preprocessing: tuple[float, float, float]) -> None:
        super().__init__(config, *preprocessing)
        self.coarse_head = nn.Linear(config.width, 4 * config.classes)
        initialise(self.coarse_head)

    def coarse_answer(self, tokens: Tensor) -> Tensor:
        """See TwoStageViT."""
        return self._on_cells(self._of_coarse(tokens[:, 1:]))

    def selection_score(self, coarse: Coarse, logits: Tensor) -> Tensor:
        """With "uncertain" the doubt about a block: 1 - the smallest confidence of its cells."""
        if self.config.selection == "uncertain":
            return block_doubt(logits.detach())
        return super().selection_score(coarse, logits)

    def fine_answer(self, tokens: Tensor, target_index: Tensor, non_target_index: Tensor | None) -> Tensor:
        """See TwoStageViT."""
        assert non_target_index is not None
        fine = 1 + 4 * target_index.shape[1]
        targets = self.head(tokens[:, 1:fine]).view(len(tokens), -1, 4, self.config.classes)
        answers = torch.cat([targets, self._of_coarse(tokens[:, fine:])], 1)
        place = torch.cat([target_index, non_target_index], 1).argsort(1)  # of each block among the answers
        return self._on_cells(take(answers.flatten(2), place).view_as(answers))

    def _of_coarse(self, tokens: Tensor) -> Tensor:
        """(B, K, D) -> (B, K, 4, C): a block's answers for its cells."""
        logits: Tensor = self.coarse_head(tokens)
        return logits.view(len(tokens), -1, 4, self.config.classes)

    def _on_cells(self, answers: Tensor) -> Tensor:
        """(B, G*G, 4, C) by block -> (B, 2G, 2G, C)."""
        grid = self.config.grid
        cells = answers.view(-1, grid, grid, 2, 2, self.config.classes).permute(0, 1, 3, 2, 4, 5)
        return cells.reshape(-1, 2 * grid, 2 * grid, self.config.classes)


class DensePlainViT(PlainViT):
    """The single-stage ViT with an answer per patch."""

    def answer(self, tokens: Tensor) -> Tensor:
        """See PlainViT."""
        cells = self.config.cells
        logits: Tensor = self.head(tokens[:, 1:])
        return logits.view(len(tokens), cells, cells, -1)


def block_doubt(logits: Tensor) -> Tensor:
    """(B, 2G, 2G, C) -> (B, G*G), in [0, 1]: 1 - the smallest confidence among the 2 x 2 cells of each block."""
    doubt = 1 - logits.float().softmax(-1).amax(-1)
    return F.max_pool2d(doubt, 2).flatten(1)


class Networks(NamedTuple):
    """The classes of a task."""

    two_stage: type[TwoStageViT]
    plain: type[PlainViT]


NETWORKS: dict[Task, Networks] = {
    "classify": Networks(TwoStageViT, PlainViT),
    "dense": Networks(DenseTwoStageViT, DensePlainViT),
}
