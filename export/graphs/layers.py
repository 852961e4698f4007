"""Transformer layers as portable ONNX, in a form that TensorRT 8.6 to 11 and ONNX Runtime accept and fuse.

No Attention, Gelu or SDPA operator. Softmax(q k^T) v is spelled out with the one scale folded into q's weights; GELU is
x * (erf(x / sqrt 2) + 1) / 2 in the order that fusers look for. Sources: docs/graphs.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...bundle.precision import Form
from ...model.config import ModelConfig
from ...model.layers import LAYER_NORM_EPS
from .builder import Array, GraphBuilder
from .projections import AttentionWeights, Shape, Weights, attention_weights


def linear(g: GraphBuilder, name: str, x: str, weight: Array, bias: Array) -> str:
    """x (.., K) @ weight.T (K, N) + bias. weight: (N, K), torch's layout."""
    product = g.op(f"{name}.matmul", "MatMul", x, g.constant(f"{name}.weight", weight.T))
    return g.op(name, "Add", product, g.constant(f"{name}.bias", bias))


def layer_norm(g: GraphBuilder, name: str, x: str, weights: Weights) -> str:
    scale = g.constant(f"{name}.weight", weights[f"{name}.weight"])
    bias = g.constant(f"{name}.bias", weights[f"{name}.bias"])
    return g.op(name, "LayerNormalization", x, scale, bias, axis=-1, epsilon=LAYER_NORM_EPS)


def mlp(g: GraphBuilder, name: str, x: str, weights: Weights) -> str:
    inner = linear(g, f"{name}.fc1", x, weights[f"{name}.fc1.weight"], weights[f"{name}.fc1.bias"])
    scaled = g.op(f"{name}.gelu.div", "Div", inner, g.scalar(np.sqrt(2)))
    lifted = g.op(f"{name}.gelu.add", "Add", g.op(f"{name}.gelu.erf", "Erf", scaled), g.scalar(1))
    gated = g.op(f"{name}.gelu.mul", "Mul", inner, lifted)
    active = g.op(f"{name}.gelu", "Mul", gated, g.scalar(0.5))
    return linear(g, f"{name}.fc2", active, weights[f"{name}.fc2.weight"], weights[f"{name}.fc2.bias"])


@dataclass(frozen=True)
class Heads:
    """Attention's inputs by head: query and value (B, H, N, D/H), key (B, H, D/H, N), and the weights that made them."""

    query: str
    key: str
    value: str
    own: AttentionWeights


def attention_heads(
    g: GraphBuilder, name: str, x: str, weights: Weights, shape: Shape, tokens: int, form: Form
) -> Heads:
    """The first norm and the first product of the block `name` over x (B, N, D)."""
    width, heads = shape.width, shape.heads
    own = attention_weights(weights, name, shape, form)
    scale = g.constant(f"{name}.norm1.weight", own.norm_scale)
    shift = g.constant(f"{name}.norm1.bias", own.norm_shift)
    normed = g.op(f"{name}.norm1", "LayerNormalization", x, scale, shift, axis=-1, epsilon=LAYER_NORM_EPS)
    qkv = g.op(f"{name}.attn.qkv.matmul", "MatMul", normed, g.constant(f"{name}.attn.qkv.weight", own.qkv.T))
    parts = g.ops([f"{name}.attn.{part}" for part in "qkv"], "Split", qkv, g.integers(width, width, width), axis=2)
    by_head = [g.reshape(f"{part}.heads", part, -1, tokens, heads, shape.head_width) for part in parts]
    query, key, value = (
        g.op(f"{part}.ready", "Transpose", rows, perm=order)
        for part, rows, order in zip(parts, by_head, ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]), strict=True)
    )
    if own.query_bias is not None:
        bias = own.query_bias.reshape(1, heads, 1, shape.head_width)
        query = g.op(f"{name}.attn.q.biased", "Add", query, g.constant(f"{name}.attn.q.bias", bias))
    return Heads(query, key, value, own)


Mix = Callable[[str, Heads], str]  # a block's name and its heads -> the mixed values (B, H, N, D/H)


def attend(
    g: GraphBuilder, name: str, query: str, key: str, value: str, mask: str | None = None, part: str = ""
) -> str:
    """softmax(query key + mask) value. mask: an additive constant, the same for all heads. part: ends the names."""
    scores = g.op(f"{name}.scores{part}", "MatMul", query, key)
    if mask is not None:
        scores = g.op(f"{name}.masked{part}", "Add", scores, mask)
    softmax = g.op(f"{name}.softmax{part}", "Softmax", scores, axis=-1)
    return g.op(f"{name}.mixed{part}", "MatMul", softmax, value)


def block(
    g: GraphBuilder,
    name: str,
    x: str,
    heads: Heads,
    weights: Weights,
    shape: Shape,
    tokens: int,
    mix: Mix | None = None,
    only: Callable[[str], str] | None = None,
) -> str:
    """The rest of the pre-norm block `name` over x (B, N, D): the new x, or the rows of it that `only` takes out.

    mix: how tokens attend; None is all tokens to all.
    """
    mixed = mix(f"{name}.attn", heads) if mix else attend(g, f"{name}.attn", heads.query, heads.key, heads.value)
    ordered = g.op(f"{name}.attn.ordered", "Transpose", mixed, perm=[0, 2, 1, 3])
    joined = g.reshape(f"{name}.attn.joined", ordered, -1, tokens, shape.width)
    if only is not None:
        joined, x = only(joined), only(x)
    attended = linear(g, f"{name}.attn.proj", joined, weights[f"{name}.attn.proj.weight"], heads.own.proj_bias)
    x = g.op(f"{name}.after_attn", "Add", x, attended)
    return g.op(name, "Add", x, mlp(g, f"{name}.mlp", layer_norm(g, f"{name}.norm2", x, weights), weights))


def classify(g: GraphBuilder, x: str, weights: Weights, config: ModelConfig, form: Form) -> tuple[str, str]:
    """Norm over x (B, N, D) and the head on the class token, the first: the normed tokens and `logits` (B, C)."""
    normed = layer_norm(g, "norm", x, weights)
    token = g.slice("class_token", normed, 0, 1, 1)  # (B, 1, D)
    weight, bias = weights["head.weight"], weights["head.bias"]
    if form == "cpu":
        return normed, linear(g, "head", g.reshape("class_token.flat", token, -1, config.width), weight, bias)
    # The head is FP32 in every precision, and a Turing GPU has no FP32 matrix product. A sum of products is as exact and, for
    # one row per image, as fast.
    products = g.op("head.products", "Mul", token, g.constant("head.weight", weight[None]))  # (B, C, D)
    summed = g.op("head.sum", "ReduceSum", products, g.integers(2), keepdims=0)
    return normed, g.op("head", "Add", summed, g.constant("head.bias", bias))
