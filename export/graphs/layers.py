"""Transformer layers as portable ONNX: what TensorRT 8.6 to 11 and ONNX Runtime all take, and fuse.

No Attention, Gelu or SDPA operator. Softmax(q k^T) v is spelled out with the one scale folded into q's weights; GELU is
x * (erf(x / sqrt 2) + 1) / 2 in the order that fusers look for. Sources: docs/graphs.md.
"""

from __future__ import annotations

import numpy as np

from ...model.config import ModelConfig
from ...model.layers import LAYER_NORM_EPS
from .builder import Array, GraphBuilder

Weights = dict[str, Array]  # a state dict as FP32 arrays


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


def attention(
    g: GraphBuilder, name: str, x: str, weights: Weights, config: ModelConfig, tokens: int, mask: str | None
) -> tuple[str, str, str]:
    """Self-attention over x (B, N, D). Returns its output (B, N, D), q (B, H, N, D/H) and k^T (B, H, D/H, N).

    mask: name of a (1, 1, N, N) additive constant, the same for all heads.
    """
    width, heads = config.width, config.heads
    weight, bias = weights[f"{name}.qkv.weight"].copy(), weights[f"{name}.qkv.bias"].copy()
    weight[:width] *= config.head_width**-0.5  # softmax(q k^T / sqrt(D/H)): the only scale, and free
    bias[:width] *= config.head_width**-0.5
    qkv = linear(g, f"{name}.qkv", x, weight, bias)
    parts = g.ops([f"{name}.{part}" for part in "qkv"], "Split", qkv, g.integers(width, width, width), axis=2)
    by_head = [g.reshape(f"{part}.heads", part, -1, tokens, heads, config.head_width) for part in parts]
    query, key, value = (
        g.op(f"{part}.ready", "Transpose", part, perm=perm)
        for part, perm in zip(by_head, ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]), strict=True)
    )
    scores = g.op(f"{name}.scores", "MatMul", query, key)
    if mask is not None:
        scores = g.op(f"{name}.masked", "Add", scores, mask)
    mixed = g.op(f"{name}.mixed", "MatMul", g.op(f"{name}.softmax", "Softmax", scores, axis=-1), value)
    joined = g.reshape(
        f"{name}.joined", g.op(f"{name}.ordered", "Transpose", mixed, perm=[0, 2, 1, 3]), -1, tokens, width
    )
    out = linear(g, f"{name}.proj", joined, weights[f"{name}.proj.weight"], weights[f"{name}.proj.bias"])
    return out, query, key


def block(
    g: GraphBuilder, index: int, x: str, weights: Weights, config: ModelConfig, tokens: int, mask: str | None = None
) -> tuple[str, str, str]:
    """A pre-norm block over x (B, N, D): the new x, and q and k^T for whoever wants the class token's row."""
    name = f"blocks.{index}"
    mixed, query, key = attention(
        g, f"{name}.attn", layer_norm(g, f"{name}.norm1", x, weights), weights, config, tokens, mask
    )
    x = g.op(f"{name}.after_attn", "Add", x, mixed)
    x = g.op(name, "Add", x, mlp(g, f"{name}.mlp", layer_norm(g, f"{name}.norm2", x, weights), weights))
    return x, query, key


def classify(
    g: GraphBuilder, x: str, weights: Weights, config: ModelConfig, class_position: int = 0
) -> tuple[str, str]:
    """Norm over x (B, N, D) and the head on the class token: the normed tokens and `logits` (B, C)."""
    normed = layer_norm(g, "norm", x, weights)
    token = g.slice("class_token", normed, class_position, class_position + 1, 1)
    token = g.reshape("class_token.flat", token, -1, config.width)
    return normed, linear(g, "head", token, weights["head.weight"], weights["head.bias"])
