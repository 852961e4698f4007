"""The product in front of attention with fewer biases: on a GPU each costs a kernel, and none changes an answer.

In both forms of a graph:
- K's bias goes: it adds one number to a whole row of scores, which the softmax does not see.
- V's bias goes behind attention, whose rows sum to 1: the projection's bias becomes b + W_proj b_v.

In the CPU form Q's bias is added to Q. In the GPU form it goes into the weights as well. The norm's scale and shift move into
W and b; what remains of the norm, xn, sums to 0 over the channels, so that a constant may be subtracted from a row of W. Column
j of each row is: then W xn does not read channel j, and the norm may add LIFT to it for nothing. The channels of y, which is xn
with that lift, sum to LIFT, so b / LIFT added to every place of a row of W_q gives W_q y = W_q xn + b.

Exact, for any weights. In FP16 the bias comes out right to about 5e-4 of itself, as it would when it is added. Only for graphs
whose norm is not quantised: folded scales leave INT8 one step for a network's outliers and for all else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...bundle.precision import Form
from ...model.config import ModelConfig
from .builder import Array

Weights = dict[str, Array]  # a state dict as FP32 arrays

# Exact in every type. The larger, the less the rounding of the other channels weighs on the bias: in FP16, where they sum to
# 0 within 0.005 for DeiT-S, 16 makes that 3e-4 of the bias, as little as one rounding of it.
LIFT = 16.0


@dataclass(frozen=True)
class AttentionWeights:
    """norm_scale, norm_shift, proj_bias: (D,). qkv: (3 D, D), Q's rows with the softmax's scale. query_bias: (D,) or None."""

    norm_scale: Array
    norm_shift: Array
    qkv: Array
    query_bias: Array | None
    proj_bias: Array


def attention_weights(weights: Weights, block: str, config: ModelConfig, form: Form) -> AttentionWeights:
    """What a block's attention multiplies with."""
    width = config.width
    names = ("attn.qkv.weight", "attn.qkv.bias", "norm1.weight", "norm1.bias", "attn.proj.weight", "attn.proj.bias")
    weight, bias, scale, shift, proj, proj_bias = (weights[f"{block}.{name}"].astype(np.float64) for name in names)
    if form == "gpu":
        bias = bias + weight @ shift
        weight = weight * scale
        channel = np.linalg.norm(weight, axis=0).argmin()  # what the rest has to stand in for: as little as may be
        weight -= weight[:, channel : channel + 1]
        weight[:width] += bias[:width, None] / LIFT
        scale, shift = np.ones(width), np.where(np.arange(width) == channel, LIFT, 0)
    softmax_scale = config.head_width**-0.5  # softmax(q k^T / sqrt(D/H)): the only scale, and free
    weight[:width] *= softmax_scale
    made = scale, shift, weight, bias[:width] * softmax_scale, proj_bias + proj @ bias[2 * width :]
    norm_scale, norm_shift, qkv, query_bias, folded = (values.astype(np.float32) for values in made)
    return AttentionWeights(norm_scale, norm_shift, qkv, query_bias if form == "cpu" else None, folded)
