"""Selects the target blocks and SAC's tokens: attention, top-k, gathers, and their tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...bundle.precision import Form
from ...model.config import ModelConfig
from .builder import Array, GraphBuilder
from .layers import Heads
from .projections import Weights


class HandOff(NamedTuple):
    """How many blocks EE hands over as targets, and how many as non-targets.

    Where several SACs with different shares of targets read them, a block may be among both: each SAC takes the first of the
    targets and the last of the non-targets.
    """

    targets: int
    non_targets: int

    @classmethod
    def of(cls, *configs: ModelConfig) -> HandOff:
        """What SACs of all these configs read."""
        return cls(max(one.targets for one in configs), max(one.non_targets for one in configs))


def class_attention(g: GraphBuilder, heads: Sequence[Heads], config: ModelConfig, form: Form) -> str:
    """Global class attention (B, G*G) of the counted blocks, whose attention reads `heads`.

    All of them share one softmax, separate from the main attention: a second reader of the main softmax would prevent TensorRT
    from fusing it.
    """
    count = len(heads) * config.heads
    if form == "cpu":
        each = []
        for index, inputs in enumerate(heads, config.first_attention_block):
            query = g.slice(f"class_query.{index}", inputs.query, 0, 1, 2)
            each.append(g.op(f"class_score.{index}", "MatMul", query, inputs.key))  # (B, H, 1, N)
        scores = g.op("class_score", "Concat", *each, axis=1)
    else:
        scores = class_scores(g, heads, config)
    rows = g.reshape("class_attention.scores", scores, -1, count, config.ee_tokens)
    softmax = g.op("class_attention.softmax", "Softmax", rows, axis=-1)
    patches = g.slice("class_attention.patches", softmax, 1, config.ee_tokens, 2)
    share = np.repeat(np.array(config.attention_weights) / config.heads, config.heads).astype(np.float32)
    if form == "cpu":
        summed = g.op("class_attention.sum", "MatMul", g.constant("class_attention.weights", share[None]), patches)
        return g.reshape("class_attention.flat", summed, -1, config.blocks)
    shares = g.constant("class_attention.weights", share[None, :, None])  # no FP32 product: see layers.classify
    weighted = g.op("class_attention.weighted", "Mul", patches, shares)
    return g.op("class_attention.sum", "ReduceSum", weighted, g.integers(1), keepdims=0)


def class_scores(g: GraphBuilder, heads: Sequence[Heads], config: ModelConfig) -> str:
    """The class token's scores in all n counted blocks (B, n, H, N) in few kernels, from their `blocks.N.norm1`.

    With q = y_cls W_q the scores q k^T are (q W_k^T) y^T: four products for all blocks together, and no second reader of
    the main attention's queries and keys, which costs two kernels per block. W_q and W_k are read once more for it, so on a CPU
    `class_attention` takes the other way.
    """
    blocks = range(config.first_attention_block, config.depth)
    count, width = len(blocks), config.width
    qkv = np.stack([inputs.own.qkv for inputs in heads])  # (n, 3 D, D)
    ask = g.constant("class_query.weight", qkv[None, :, :width].transpose(0, 1, 3, 2))
    look = g.constant("class_probe.weight", qkv[:, width : 2 * width].reshape(count, config.heads, -1, width))
    each = [g.op(f"class_input.{index}", "Unsqueeze", f"blocks.{index}.norm1", g.integers(1)) for index in blocks]
    x = g.op("class_input", "Concat", *each, axis=1)  # (B, n, N, D)
    row = g.op(
        "class_query.row", "Transpose", g.slice("class_input.row", x, 0, 1, 2), perm=[2, 1, 0, 3]
    )  # (1, n, B, D)
    query = g.op("class_query", "MatMul", row, ask)
    query = g.reshape("class_query.heads", query, count, -1, config.heads, config.head_width)
    query = g.op("class_query.ready", "Transpose", query, perm=[0, 2, 1, 3])  # (n, H, B, D/H)
    probe = g.op("class_probe", "MatMul", query, look)  # (n, H, B, D)
    probe = g.op("class_probe.ready", "Transpose", probe, perm=[2, 0, 1, 3])
    return g.op("class_score", "MatMul", probe, g.op("class_input.turned", "Transpose", x, perm=[0, 1, 3, 2]))


def score_of(g: GraphBuilder, attention: str, features: str, config: ModelConfig) -> str:
    """What ranks the blocks, (B, G*G). attention: (B, G*G); features: (B, 1 + G*G, D), what EE's last block reads."""
    if config.selection != "norm":
        return attention
    rows = g.slice("select.features", features, 1, config.ee_tokens, 1)
    squares = g.op("select.squares", "Mul", rows, rows)
    # Without the root, which changes no order. Names with "select." stay in FP32: FP16 cannot hold such sums.
    return g.op("select.norm", "ReduceSum", squares, g.integers(2), keepdims=0)


def select(g: GraphBuilder, attention: str, config: ModelConfig, handed: HandOff) -> tuple[str, str, str]:
    """Block indices, most attended first, as int32: all (B, G*G), its targets (B, M) and the others (B, U), as many as are
    handed over."""
    score = attention
    if config.window is not None:
        inside = window_members(config.grid, config.window)  # (windows, G*G)
        sums = g.op("window.sums", "MatMul", attention, g.constant("window.inside", inside.T))
        _, best = g.ops(["window.largest", "window.best"], "TopK", sums, g.integers(1), axis=1, largest=1, sorted=1)
        best = g.cast("window.best.int32", best, "int32")
        # Subtracting 2 outside puts every block there below every block inside, whose values stay exact.
        penalty = g.op("window.penalty", "Gather", g.constant("window.outside", 2 * (1 - inside)), best, axis=0)
        score = g.op("window.score", "Sub", attention, g.reshape("window.penalty.flat", penalty, -1, config.blocks))
    _, order = g.ops(
        ["select.sorted", "select.order"], "TopK", score, g.integers(config.blocks), axis=1, largest=1, sorted=1
    )
    order = g.cast("select.order.int32", order, "int32")
    if sum(handed) > config.blocks:
        targets = g.slice("select.targets", order, 0, handed.targets, 1)
        return order, targets, g.slice("select.others", order, config.blocks - handed.non_targets, config.blocks, 1)
    targets, others = g.ops(["select.targets", "select.others"], "Split", order, g.integers(*handed), axis=1)
    return order, targets, others


def gather_tokens(g: GraphBuilder, name: str, tokens: str, index: str, width: int) -> str:
    """tokens (B, N, D), index (B, K) int32 -> (B, K, D), each image with its own index."""
    column = g.op(f"{name}.column", "Unsqueeze", index, g.integers(2))
    spread = g.op(f"{name}.spread", "Expand", column, g.integers(1, 1, width))
    return g.op(name, "GatherElements", tokens, spread, axis=1)


def window_members(grid: int, window: int) -> Array:
    """(windows, G*G) float32, 1 where the block lies in the window; windows in row-major order."""
    places = range(grid - window + 1)
    members = np.zeros((len(places), len(places), grid, grid), np.float32)
    for row in places:
        for column in places:
            members[row, column, row : row + window, column : column + window] = 1
    return members.reshape(-1, grid * grid)


def regroup(fine: Array, config: ModelConfig) -> Array:
    """(4*G*G, D) row-major on the fine grid -> (G*G, 4, D): the four fine tokens of each block."""
    cells = fine.reshape(config.grid, 2, config.grid, 2, -1).transpose(0, 2, 1, 3, 4)
    return cells.reshape(config.blocks, 4, -1)


def position_tables(weights: Weights, config: ModelConfig) -> tuple[Array, Array]:
    """The coarse (1, 1 + G*G, D) and the fine table (1, 1 + 4*G*G, D). Of one table, the coarse one is made here."""
    if config.positions == "two":
        return weights["pos_embed_list.0"], weights["pos_embed_list.1"]
    fine = weights["pos_embed"]
    coarse = regroup(fine[0, 1:], config).mean(1, dtype=np.float64).astype(np.float32)
    return np.concatenate([fine[:, :1], coarse[None]], 1), fine
