"""The two-stage early-exit network of SAC-ViT, CF-ViT and LF-ViT, and the plain ViT it is measured against.

Sources: SAC-ViT, arXiv 2503.00060; CF-ViT, arXiv 2203.03821; LF-ViT, AAAI 2024. One class serves the three: they differ only in
`selection` and `attention` of the config. The other switches are what the papers leave open: docs/model.md. How pixels become
tokens is the family's: embeddings/.

More than 250 lines: both networks, and the steps that both stages share, are read beside each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..bundle.preprocess import IMAGENET_MEAN, IMAGENET_STD
from .config import ModelConfig
from .embeddings.families import embedding_of
from .layers import LAYER_NORM_EPS, Block, Mlp, by_block, cluster_mask, initialise, take


@dataclass
class EEOutput:
    """The outputs of the coarse pass, under the names of the EE graph's outputs."""

    logits: Tensor  # (B, C); of a dense task (B, 2G, 2G, C)
    target_index: Tensor  # (B, M) int64, the largest selection score first
    target_context: Tensor  # (B, M, D) normed output tokens of the target blocks; SAC applies reuse_block
    non_target: Tensor  # (B, U, D) input embeddings of the other blocks, or their normed output tokens: `reuse`
    class_attention: Tensor  # (B, G, G)
    selection_score: Tensor  # (B, G*G): the blocks with the largest values are the targets
    non_target_index: Tensor  # (B, U) int64; only a dense task needs it

    @property
    def confidence(self) -> Tensor:
        """(B,) the largest softmax probability; of a dense task, the smallest one of the cells."""
        return self.logits.float().softmax(-1).amax(-1).view(len(self.logits), -1).amin(1)

    @property
    def handed(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What SAC takes, in the order of its arguments."""
        return self.target_index, self.target_context, self.non_target, self.non_target_index


class Coarse(NamedTuple):
    """What the coarse pass computes, besides its answer."""

    tokens: Tensor  # (B, 1+G*G, D), normed
    embedding: Tensor  # (B, G*G, D), what the first block read
    attention: Tensor  # (B, G*G), global class attention; a zero where it was not wanted
    features: Tensor  # (B, G*G, D), what the last block read


class VisionTransformer(nn.Module):
    """The common parts of both networks: patch embedding, blocks, norm and head, and the normalisation of pixels.

    mean, std: RGB in [0, 1]. They are no part of the state dict.
    """

    def __init__(
        self,
        config: ModelConfig,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = embedding_of(config)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.blocks = nn.ModuleList(Block(config.width, config.heads, config.hidden) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, eps=LAYER_NORM_EPS)
        self.head = nn.Linear(config.width, config.classes)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def normalise(self, image: Tensor) -> Tensor:
        """(B, S, S, 3) uint8 RGB -> (B, 3, S, S) float, mean 0 and deviation 1 over the training set."""
        pixels = image.permute(0, 3, 1, 2).to(self.cls_token.dtype) / 255
        return (pixels - self.mean) / self.std


class TwoStageViT(VisionTransformer):
    """The early-exit (EE) stage and the semantic-adaptive clustering (SAC) stage over one set of weights."""

    def __init__(
        self,
        config: ModelConfig,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
    ) -> None:
        super().__init__(config, mean, std)
        coarse, fine = (nn.Parameter(torch.zeros(1, 1 + scale * config.blocks, config.width)) for scale in (1, 4))
        if config.positions == "one":
            self.pos_embed = fine
            tables = [fine]
        else:
            self.pos_embed_list = nn.ParameterList([coarse, fine])
            tables = [coarse, fine]
        self.reuse_block = nn.Sequential(
            nn.LayerNorm(config.width, eps=LAYER_NORM_EPS), Mlp(config.width, config.hidden)
        )
        self.apply(initialise)
        for parameter in (self.cls_token, *tables):
            nn.init.trunc_normal_(parameter, std=0.02)

    @property
    def fine_positions(self) -> Tensor:
        """(1, 1 + 4*G*G, D), the class token's first."""
        table: Tensor = self.pos_embed if self.config.positions == "one" else self.pos_embed_list[1]
        return table

    @property
    def coarse_positions(self) -> Tensor:
        """(1, 1 + G*G, D). Of one table: the mean of the four fine tokens that a block owns, and the same class row."""
        if self.config.positions == "one":
            cells = by_block(self.pos_embed[:, 1:], self.config.grid)  # (1, G*G, 4, D)
            return torch.cat([self.pos_embed[:, :1], cells.mean(2)], 1)
        table: Tensor = self.pos_embed_list[0]
        return table

    def ee(self, image: Tensor) -> EEOutput:
        """The coarse pass. image: (B, S, S, 3) uint8."""
        config = self.config
        coarse = self.coarse_pass(image, True)
        context = coarse.tokens[:, 1:]
        logits = self.coarse_answer(coarse.tokens)
        score = self.selection_score(coarse, logits)
        targets, others = select_targets(score, config)
        return EEOutput(
            logits=logits,
            target_index=targets,
            target_context=take(context, targets),
            non_target=take(context if config.reuse == "outputs" else coarse.embedding, others),
            class_attention=coarse.attention.view(-1, config.grid, config.grid),
            selection_score=score,
            non_target_index=others,
        )

    def ee_of_all_blocks(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, C) and the context of every block (B, G*G, D): the recipe's first phase."""
        tokens = self.coarse_pass(image, False).tokens
        return self.coarse_answer(tokens), tokens[:, 1:]

    def coarse_answer(self, tokens: Tensor) -> Tensor:
        """EE's logits from its normed tokens (B, 1+G*G, D)."""
        logits: Tensor = self.head(tokens[:, 0])
        return logits

    def selection_score(self, coarse: Coarse, logits: Tensor) -> Tensor:
        """(B, G*G), non-negative: the blocks with the largest values become targets.

        Class attention, or with the selection "norm" the L2 norm of a block's features where they enter the last block.
        """
        return coarse.features.detach().norm(dim=-1) if self.config.selection == "norm" else coarse.attention

    def coarse_pass(self, image: Tensor, want_attention: bool) -> Coarse:
        """EE up to its norm."""
        coarse = downsample(self.normalise(image), self.config)  # (B, 3, S/2, S/2)
        position = self.coarse_positions
        embedding = self.patch_embed(coarse) + position[:, 1:]
        class_token = (self.cls_token + position[:, :1]).expand(len(image), -1, -1)
        x = torch.cat([class_token, embedding], 1)
        features, attention = x, torch.zeros((), device=x.device)
        weights = iter(self.config.attention_weights)
        for index, block in enumerate(self.blocks):
            features = x
            x, row = block(x, None, want_attention and index >= self.config.first_attention_block)
            if row is not None:
                attention = attention + next(weights) * row.mean(1)  # over the heads
        return Coarse(self.norm(x), embedding, attention, features[:, 1:])

    def sac(
        self,
        image: Tensor,
        target_index: Tensor,
        target_context: Tensor,
        non_target: Tensor,
        non_target_index: Tensor | None = None,
    ) -> Tensor:
        """The fine pass: logits. The arguments are what EE hands over, `EEOutput.handed`, for the same images.

        non_target_index: only a dense task needs it, to put its answers back in the order of the image.
        """
        config = self.config
        positions = by_block(self.fine_positions[:, 1:], config.grid).flatten(2)  # (1, G*G, 4*D)
        positions = take(positions.expand(len(image), -1, -1), target_index).view(-1, config.targets, 4, config.width)
        targets = self.patch_embed.of_blocks(self.normalise(image), target_index) + positions
        targets = (targets + self.reuse_block(target_context).unsqueeze(2)).flatten(1, 2)  # (B, 4*M, D)
        tokens = self.fine_pass(targets, non_target, config.attention == "clustered")
        return self.fine_answer(tokens, target_index, non_target_index)

    def sac_of_all_blocks(self, image: Tensor, context: Tensor) -> Tensor:
        """The fine pass with every block a target and global attention: the recipe's first phase.

        context: (B, G*G, D), the EE stage's normed output tokens.
        """
        fine = self.patch_embed(self.normalise(image)) + self.fine_positions[:, 1:]
        tokens = (by_block(fine, self.config.grid) + self.reuse_block(context).unsqueeze(2)).flatten(1, 2)
        every = torch.arange(self.config.blocks, device=image.device).expand(len(image), -1)
        return self.fine_answer(self.fine_pass(tokens, tokens[:, :0], False), every, every[:, :0])

    def fine_answer(self, tokens: Tensor, target_index: Tensor, non_target_index: Tensor | None) -> Tensor:
        """SAC's logits from the normed tokens of `fine_pass` and the blocks that they belong to."""
        logits: Tensor = self.head(tokens[:, 0])
        return logits

    def fine_pass(self, targets: Tensor, non_target: Tensor, clustered: bool) -> Tensor:
        """Blocks and norm over [class token, target tokens (B, T, D), non-target tokens (B, U, D)]."""
        class_token = (self.cls_token + self.fine_positions[:, :1]).expand(len(targets), -1, -1)
        x = torch.cat([class_token, targets, non_target], 1)
        mask = None
        if clustered:
            mask = cluster_mask(targets.shape[1], non_target.shape[1], self.config.class_cluster).to(x.device)
        for block in self.blocks:
            x, _ = block(x, mask)
        normed: Tensor = self.norm(x)
        return normed


class PlainViT(VisionTransformer):
    """The single-stage ViT (DeiT) of the same geometry: every fine patch, one pass. The baseline of all comparisons."""

    def __init__(
        self,
        config: ModelConfig,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
    ) -> None:
        super().__init__(config, mean, std)
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + 4 * config.blocks, config.width))
        self.apply(initialise)
        for parameter in (self.cls_token, self.pos_embed):
            nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, C); of a dense task (B, 2G, 2G, C). image: (B, S, S, 3) uint8."""
        tokens = self.patch_embed(self.normalise(image))  # (B, 4*G*G, D)
        x = torch.cat([self.cls_token.expand(len(image), -1, -1), tokens], 1) + self.pos_embed
        for block in self.blocks:
            x, _ = block(x)
        return self.answer(self.norm(x))

    def answer(self, tokens: Tensor) -> Tensor:
        """Logits from the normed tokens (B, 1 + 4*G*G, D)."""
        logits: Tensor = self.head(tokens[:, 0])
        return logits


def downsample(image: Tensor, config: ModelConfig) -> Tensor:
    """(B, 3, S, S) -> (B, 3, S/2, S/2) by the config's rule."""
    if config.downsample == "area":
        return F.avg_pool2d(image, 2)
    size = (config.coarse_size, config.coarse_size)
    return F.interpolate(image, size, mode="bilinear", align_corners=True)


def select_targets(score: Tensor, config: ModelConfig) -> tuple[Tensor, Tensor]:
    """Indices of the target blocks, the largest score first, and of the others: (B, M) and (B, U), int64.

    score: (B, G*G), non-negative, of `TwoStageViT.selection_score`. Ties go to the lower index. Sources: topk is CF-ViT's rule
    (section 3.2), window LF-ViT's: the window with the largest sum, and in it the most attended blocks.
    """
    if config.window is not None:
        inside = window_members(config.grid, config.window).to(score)  # (windows, G*G), 0 or 1
        best = (score @ inside.T).argmax(1)  # argmax gives the first of equals on the CPU
        # Blocks outside get values below those inside, whose score is not negative. Values inside stay exact.
        score = score - (1 - inside)[best] * 2
    order = torch.sort(score, dim=1, descending=True, stable=True).indices
    return order[:, : config.targets], order[:, config.targets :]


def window_members(grid: int, window: int) -> Tensor:
    """(windows, G*G) bool: which blocks lie in each window x window square, squares in row-major order."""
    places = grid - window + 1
    members = torch.zeros(places, places, grid, grid, dtype=torch.bool)
    for row in range(places):
        for column in range(places):
            members[row, column, row : row + window, column : column + window] = True
    return members.view(places * places, grid * grid)
