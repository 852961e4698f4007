"""The costs of a stage: multiply-accumulates (MACs) and bytes, counted from the geometry.

Papers of this field print MACs under the name FLOPs ("DeiT-S: 4.6 GFLOPs"); so one MAC here is one of their FLOPs.
Counted: every matrix product that the model needs. Not counted: norms, softmax, GELU, additions. Clustered attention counts
the pairs that may see each other. The graph computes all pairs under a mask; for DeiT-S the mask hides 1.55 % of SAC's MACs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from .config import ModelConfig

# At this exit rate the chain of DeiT-S needs 62 % fewer MACs than the plain ViT, the saving that SAC-ViT (arXiv 2503.00060)
# reports. It follows from the counts below and was not read in the paper.
DERIVED_EXIT_RATE = 0.77


@dataclass(frozen=True)
class StageCost:
    """The work for one image. Bytes are FP32; weights are read once per pass, hand-off buffers written or read once."""

    macs: int
    weight_bytes: int
    input_bytes: int
    output_bytes: int


@dataclass(frozen=True)
class ModelCost:
    ee: StageCost
    sac: StageCost
    plain: StageCost

    def chain_macs(self, exit_rate: float) -> float:
        """Mean MACs per image when this share of the images (in [0, 1]) leaves after the EE stage."""
        return self.ee.macs + (1 - exit_rate) * self.sac.macs

    def speedup_limit(self, exit_rate: float) -> float:
        """The plain ViT's MACs over the chain's: the speed-up if time were proportional to MACs."""
        return self.plain.macs / self.chain_macs(exit_rate)


def count_cost(config: ModelConfig) -> ModelCost:
    """Costs of the EE stage, the SAC stage and the plain ViT of the same geometry, each for one image."""
    width, hidden, targets, others = config.width, config.hidden, config.targets, config.non_targets
    embedding = count_embedding(config)
    reuse_weights = 2 * width * hidden
    heads = count_heads(config)

    def body_macs(tokens: int, pairs: int) -> int:
        """Blocks over `tokens` tokens of which `pairs` (query, key) pairs are attended."""
        linear = tokens * (4 * width * width + 2 * width * hidden)
        return config.depth * (linear + 2 * pairs * width)

    if config.attention == "clustered":
        fine = 4 * targets
        sac_pairs = {
            "global": fine * (fine + 1) + others * (others + 1) + config.sac_tokens,
            "target": (fine + 1) ** 2 + others**2,
            "both": (fine + 1) ** 2 + (others + 1) ** 2,
        }[config.class_cluster]
    else:
        sac_pairs = config.sac_tokens**2
    side, half = config.image_size, config.coarse_size
    downsample_macs = 2 * 3 * half * (side + half)  # each value from two neighbours: rows, then columns
    class_attention_macs = (config.depth - config.first_attention_block) * config.ee_tokens * width
    ee_macs = (
        downsample_macs
        + config.blocks * embedding.coarse_macs
        + body_macs(config.ee_tokens, config.ee_tokens**2)
        + class_attention_macs
        + heads.ee_macs
    )
    sac_macs = (
        targets * (embedding.fine_macs + reuse_weights) + body_macs(config.sac_tokens, sac_pairs) + heads.sac_macs
    )
    tokens = 4 * config.blocks + 1
    plain_macs = config.blocks * embedding.fine_macs + body_macs(tokens, tokens**2) + heads.plain_macs

    shared = embedding.weights + width + config.depth * block_weights(width, hidden) + 2 * width
    ee_weights = shared + heads.ee_weights + config.ee_tokens * width + embedding.coarse_table
    fine_weights = shared + tokens * width + embedding.fine_table
    sac_weights = fine_weights + heads.sac_weights + reuse_weights + 3 * width + hidden
    plain_weights = fine_weights + heads.plain_weights
    image = 3 * side * side  # uint8
    hand_off = 4 * (targets + targets * width + others * width + heads.handed_indices)
    logits = 4 * heads.answers * config.classes
    answers = logits + 4 * (1 + config.blocks)
    return ModelCost(
        ee=StageCost(ee_macs, 4 * ee_weights, image, hand_off + answers),
        sac=StageCost(sac_macs, 4 * sac_weights, image + hand_off + 4, logits),
        plain=StageCost(plain_macs, 4 * plain_weights, image, logits),
    )


def block_weights(width: int, hidden: int) -> int:
    """Of a block, with biases and its two norms."""
    return 4 * width * width + 2 * width * hidden + 9 * width + hidden


class Embedding(NamedTuple):
    """From pixels to tokens. MACs: of one block of the image. Tables: values of the positions inside a window."""

    coarse_macs: int
    fine_macs: int
    weights: int
    coarse_table: int
    fine_table: int


def count_embedding(config: ModelConfig) -> Embedding:
    """A ViT projects one patch per block (EE) or four; a hierarchical network has levels of window attention behind it."""
    first = config.width >> len(config.levels)
    projection = 3 * config.first_patch**2 * first
    weights = projection + first
    fine = config.window_side**2  # tokens of a block; a ViT's four
    macs = {tokens: tokens * projection for tokens in (fine // 4, fine)}
    for level, shape in enumerate(config.level_shapes):
        merge = 4 * shape.width * 2 * shape.width
        weights += shape.depth * block_weights(shape.width, shape.hidden) + merge + 8 * shape.width  # and its norm
        for tokens in macs:
            count = tokens >> 2 * level
            linear = count * (4 * shape.width**2 + 2 * shape.width * shape.hidden)
            macs[tokens] += shape.depth * (linear + 2 * count**2 * shape.width) + count // 4 * merge
    table = fine * first if config.levels else 0
    return Embedding(macs[fine // 4], macs[fine], weights, table // 4, table)


class Heads(NamedTuple):
    """What differs between the tasks. answers: per image. handed_indices: of non-target blocks."""

    ee_macs: int
    sac_macs: int
    plain_macs: int
    ee_weights: int
    sac_weights: int
    plain_weights: int
    answers: int
    handed_indices: int


def count_heads(config: ModelConfig) -> Heads:
    """A classifier has one row of `head` per class; a dense task `head` per fine token, and `coarse_head` per coarse one."""
    one, with_bias = config.width * config.classes, (config.width + 1) * config.classes
    if config.task == "classify":
        return Heads(one, one, one, with_bias, with_bias, with_bias, 1, 0)
    cells = 4 * config.blocks
    return Heads(
        *(cells * one, cells * one, cells * one, 4 * with_bias, 5 * with_bias, with_bias, cells, config.non_targets)
    )
