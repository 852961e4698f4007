"""Ways to choose the target blocks of a scene, and what the SAC stage answers with each of them.

All choose the same number of blocks. `attention` is the model's own rule. Two rules go by EE's uncertainty: `entropy` and
`leave-one-out`. `both` adds the ranks of attention and leave-one-out. Two need no model: `oracle` knows the mask, `random`
knows nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sacvit.bundle.preprocess import ImageU8
from sacvit.model.layers import take
from sacvit.model.network import TwoStageViT

Floats = npt.NDArray[np.float32]
Order = npt.NDArray[np.int64]  # (N, G * G): every block, the first choice first


@dataclass(frozen=True)
class Coarse:
    """All of the coarse pass: what `TwoStageViT.ee` gives of the chosen blocks, of every block."""

    logits: Tensor  # (N, C)
    context: Tensor  # (N, G * G, D): normed output tokens
    embedding: Tensor  # (N, G * G, D): input embeddings
    attention: Tensor  # (N, G * G)


@torch.inference_mode()
def run_ee(model: TwoStageViT, images: ImageU8) -> Coarse:
    found = model.coarse_pass(torch.from_numpy(images), True)
    return Coarse(model.head(found.tokens[:, 0]), found.tokens[:, 1:], found.embedding, found.attention)


@torch.inference_mode()
def run_sac(model: TwoStageViT, images: ImageU8, coarse: Coarse, order: Order) -> Floats:
    """SAC's logits (N, C) with the first M blocks of each order as targets: contexts and non-targets are gathered anew."""
    blocks = torch.from_numpy(order)
    targets, others = blocks[:, : model.config.targets], blocks[:, model.config.targets :]
    logits = model.sac(torch.from_numpy(images), targets, take(coarse.context, targets), take(coarse.embedding, others))
    return np.asarray(logits.numpy())


def by_score(scores: Floats) -> Order:
    """Blocks by their score, the highest first; ties go to the lower index, as in the graphs."""
    return np.argsort(-scores, 1, kind="stable")


def ranks(scores: Floats) -> Floats:
    """(N, G * G): each block's place among the scores, from the lowest."""
    return np.argsort(np.argsort(scores, 1, kind="stable"), 1).astype(np.float32)


def token_entropy(model: TwoStageViT, coarse: Coarse) -> Floats:
    """(N, G * G): the entropy, in nats, of the head's answer to each block's own output token.

    It costs one product of a block's token with the head: nothing beside EE. The head was trained on the class token only, but
    both went through the same last norm.
    """
    with torch.inference_mode():
        shares = model.head(coarse.context).log_softmax(-1)
        return np.asarray(-(shares.exp() * shares).sum(-1).numpy())


@torch.inference_mode()
def leave_one_out(model: TwoStageViT, images: ImageU8, coarse: Coarse) -> Floats:
    """(N, G * G): how far EE's answer moves when a block is left out of its input: KL(all blocks || all but one), in nats.

    It asks the question directly, for the price of one more pass of EE per block.
    """
    whole = coarse.logits.log_softmax(-1)
    position = model.pos_embed_list[0]
    class_token = (model.cls_token + position[:, :1]).expand(len(images), -1, -1)
    moved = []
    for block in range(model.config.blocks):
        kept = [place for place in range(model.config.blocks) if place != block]
        x = torch.cat([class_token, coarse.embedding[:, kept]], 1)
        for layer in model.blocks:
            x, _ = layer(x)
        without = model.head(model.norm(x)[:, 0]).log_softmax(-1)
        moved.append((whole.exp() * (whole - without)).sum(-1))
    return np.asarray(torch.stack(moved, 1).numpy())


def mask_per_block(masks: npt.NDArray[np.bool_], grid: int) -> Floats:
    """(N, G * G): the share of each mask's pixels in each block."""
    side = masks.shape[1] // grid
    pixels = masks.reshape(-1, grid, side, grid, side).sum((2, 4)).reshape(-1, grid * grid)
    return (pixels / pixels.sum(1, keepdims=True)).astype(np.float32)


def share_inside(per_block: Floats, order: Order, count: int) -> Floats:
    """(N,) the share of the object inside the first `count` blocks of each order."""
    return np.asarray(np.take_along_axis(per_block, order[:, :count], 1).sum(1))
