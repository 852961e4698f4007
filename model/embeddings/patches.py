"""A ViT's embedding: each patch is projected to a token."""

from __future__ import annotations

from torch import Tensor, nn

from ..config import ModelConfig
from ..layers import by_block, take


class PatchEmbed(nn.Module):
    """Cuts an image into P x P patches and projects each."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.grid = config.grid
        self.proj = nn.Conv2d(3, config.width, config.patch_size, config.patch_size)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, h/P * w/P, D), row-major."""
        tokens: Tensor = self.proj(image).flatten(2).transpose(1, 2)
        return tokens

    def of_blocks(self, image: Tensor, index: Tensor) -> Tensor:
        """The four tokens of each block that index (B, M) names: (B, 3, S, S) -> (B, M, 4, D)."""
        blocks = by_block(self(image), self.grid)
        return take(blocks.flatten(2), index).view(*index.shape, 4, -1)
