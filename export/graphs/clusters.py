"""SAC's attention in clusters: one product under a mask, or one product per cluster. Both give the same answers.

Tokens stand in the order targets (4 M), class token, non-targets (U), so that each cluster with the class token is one slice.
What the class token attends to is the switch `class_cluster` of ModelConfig.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from ...bundle.precision import Products
from ...model.config import ModelConfig
from .builder import Array, GraphBuilder
from .layers import Heads, Mix, attend

MASKED = -1e4  # exp(-1e4) is 0 in FP32 and FP16, and FP16 can hold it


def cluster_attention(g: GraphBuilder, config: ModelConfig, products: Products) -> Mix | None:
    """How the blocks of SAC attend; None is all tokens to all."""
    if config.attention == "global":
        return None
    if products == "separate":
        return partial(_separate, g, config)
    return partial(_masked, g, config, g.constant("cluster_mask", cluster_mask(config)))


def cluster_mask(config: ModelConfig) -> Array:
    """Additive: 0 where a token (row) may look, MASKED elsewhere. (1, 1, N, N); with `class_cluster` both, (1, 1, N + 1, N).

    The last row is then the class token's among the non-targets; the row at its place is that among the targets.
    """
    place, total = 4 * config.targets, config.sac_tokens
    mask = np.full((total + 1, total), MASKED, np.float32)
    for rows, columns in _products(config):
        mask[rows, columns] = 0
    if config.class_cluster != "both":
        return mask[None, None, :total]
    mask[total] = mask[place]
    mask[place, place + 1 :], mask[total, :place] = MASKED, MASKED
    return mask[None, None]


def _products(config: ModelConfig) -> list[tuple[slice, slice]]:
    """The tokens that attend and what they attend to, product by product, in the order of the tokens."""
    place, total = 4 * config.targets, config.sac_tokens
    fine, with_class = slice(0, place), slice(0, place + 1)
    others, class_and_others = slice(place + 1, total), slice(place, total)
    if config.class_cluster == "target":
        return [(with_class, with_class), (others, others)]
    if config.class_cluster == "both":
        return [(with_class, with_class), (class_and_others, class_and_others)]
    return [(fine, with_class), (slice(place, place + 1), slice(0, total)), (others, class_and_others)]


def _masked(g: GraphBuilder, config: ModelConfig, mask: str, name: str, heads: Heads) -> str:
    if config.class_cluster != "both":
        return attend(g, name, heads.query, heads.key, heads.value, mask)
    place = 4 * config.targets
    again = g.slice(f"{name}.class_query", heads.query, place, place + 1, 2)
    asked = g.op(f"{name}.asked", "Concat", heads.query, again, axis=2)  # (B, H, N + 1, D/H)
    rows = attend(g, name, asked, heads.key, heads.value, mask)
    names = [f"{name}.rows.{part}" for part in ("targets", "class", "others", "class_again")]
    targets, one, others, other = g.ops(names, "Split", rows, g.integers(place, 1, config.non_targets, 1), axis=2)
    return _join(g, name, targets, one, other, others)


def _separate(g: GraphBuilder, config: ModelConfig, name: str, heads: Heads) -> str:
    parts = []
    for number, (rows, columns) in enumerate(_products(config)):
        query = g.slice(f"{name}.q.part.{number}", heads.query, rows.start, rows.stop, 2)
        key = g.slice(f"{name}.k.part.{number}", heads.key, columns.start, columns.stop, 3)
        value = g.slice(f"{name}.v.part.{number}", heads.value, columns.start, columns.stop, 2)
        parts.append(attend(g, name, query, key, value, part=f".{number}"))
    if config.class_cluster != "both":
        return g.op(f"{name}.rows", "Concat", *parts, axis=2)
    names = [[f"{name}.rows.targets", f"{name}.rows.class"], [f"{name}.rows.class_again", f"{name}.rows.others"]]
    targets, one = g.ops(names[0], "Split", parts[0], g.integers(4 * config.targets, 1), axis=2)
    other, others = g.ops(names[1], "Split", parts[1], g.integers(1, config.non_targets), axis=2)
    return _join(g, name, targets, one, other, others)


def _join(g: GraphBuilder, name: str, targets: str, one: str, other: str, others: str) -> str:
    """All rows in their order, the class token's as the mean of its two."""
    mean = g.op(f"{name}.class.mean", "Mul", g.op(f"{name}.class.sum", "Add", one, other), g.scalar(0.5))
    return g.op(f"{name}.rows", "Concat", targets, mean, others, axis=2)
