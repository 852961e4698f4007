"""A hierarchical embedding: attention inside windows of small tokens, which are merged level by level.

The levels, the merging of 2 x 2 tokens and the doubling of the width are Swin's (arXiv 2103.14030). A window is a block, and
windows never shift, as in Hiera's mask units (arXiv 2306.00989): what a block becomes does not depend on its neighbours, so
that SAC computes the windows of its targets alone. Windows meet in the last level, the blocks of the ViT behind this module.

EE's window has half the side of SAC's, in tokens as in pixels. Tokens of a window stand in the order of `quad_order`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..config import LevelShape, ModelConfig
from ..layers import LAYER_NORM_EPS, Block, take


class Level(nn.Module):
    """Window attention over the tokens of each window, and the merging of each four neighbours into one of twice the width."""

    def __init__(self, shape: LevelShape) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(shape.width, shape.heads, shape.hidden) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(4 * shape.width, eps=LAYER_NORM_EPS)
        self.merge = nn.Linear(4 * shape.width, 2 * shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(windows, N, D) -> (windows, N / 4, 2 D)."""
        for block in self.blocks:
            x, _ = block(x)
        windows, count, width = x.shape
        merged: Tensor = self.merge(self.norm(x.reshape(windows, count // 4, 4 * width)))
        return merged


class WindowEmbed(nn.Module):
    """Turns the pixels of each window into one token (EE) or four (SAC) of the width D."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        first = config.level_shapes[0].width
        self.proj = nn.Conv2d(3, first, config.first_patch, config.first_patch)
        # Of a token inside a window. The blocks' places in the image are added behind this module.
        self.pos_embed = nn.Parameter(torch.zeros(1, config.window_side**2, first))
        self.levels = nn.ModuleList(Level(shape) for shape in config.level_shapes)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S/2, S/2) -> (B, G*G, D), or (B, 3, S, S) -> (B, 4*G*G, D), row-major."""
        grid = self.config.grid
        windows = cut_windows(image, grid)
        tokens = self.of_windows(windows.flatten(0, 1))
        side = round(tokens.shape[1] ** 0.5)  # tokens of a window
        cells = tokens.view(len(image), grid, grid, side, side, -1).permute(0, 1, 3, 2, 4, 5)
        return cells.reshape(len(image), (grid * side) ** 2, -1)

    def of_blocks(self, image: Tensor, index: Tensor) -> Tensor:
        """The four tokens of each block that index (B, M) names: (B, 3, S, S) -> (B, M, 4, D). No other block is computed."""
        windows = cut_windows(image, self.config.grid)
        chosen = take(windows.flatten(2), index).view(-1, *windows.shape[2:])
        return self.of_windows(chosen).view(*index.shape, 4, -1)

    def of_windows(self, pixels: Tensor) -> Tensor:
        """(windows, 3, w, w) -> (windows, 1 or 4, D)."""
        x = self.proj(pixels).flatten(2)  # (windows, D', N), row-major
        side = round(x.shape[2] ** 0.5)
        x = x[:, :, quad_order(side)].transpose(1, 2) + self.positions(side)
        for level in self.levels:
            x = level(x)
        tokens: Tensor = x
        return tokens

    def positions(self, side: int) -> Tensor:
        """The table for windows of side x side tokens: in EE's, a token gets the mean of the four that it covers."""
        table: Tensor = self.pos_embed
        return table if side * side == table.shape[1] else table.view(1, side * side, 4, -1).mean(2)


def cut_windows(image: Tensor, grid: int) -> Tensor:
    """(B, 3, h, h) -> (B, G*G, 3, h/G, h/G): the pixels of each block, row-major."""
    batch, channels, height, _ = image.shape
    side = height // grid
    cells = image.view(batch, channels, grid, side, grid, side).permute(0, 2, 4, 1, 3, 5)
    return cells.reshape(batch, grid * grid, channels, side, side)


def quad_order(side: int) -> list[int]:
    """The row-major places of side x side tokens, in the order in which they merge. side: a power of two.

    Each four that follow each other are a 2 x 2 square, and so are the merged ones, at every level. The last four stand
    row-major.
    """
    if side == 1:
        return [0]
    half = side // 2
    inner = [place // half * side + place % half for place in quad_order(half)]
    return [(row * side + column) * half + place for row in (0, 1) for column in (0, 1) for place in inner]
