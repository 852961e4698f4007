"""The projection to Q, K and V with fewer biases: on a GPU each addition of a bias costs a kernel. Results are the same.

In both forms of a graph:
- K's bias is dropped: it adds the same number to a whole row of scores, which does not change the softmax.
- V's bias moves behind attention, whose rows sum to 1: the projection's bias becomes b + W_proj b_v.

In the CPU form Q's bias is added to Q. In the GPU form it moves into the weights as well, in three steps. First, the norm's
scale and shift move into W and b. The rest of the norm, xn, sums to 0 over the channels, so subtracting a constant from a row
of W does not change W xn. Second, each row's entry in column j is subtracted from that row: then W xn does not depend on
channel j, and the norm may add LIFT to it. Third, the channels of the result y sum to LIFT, so adding b / LIFT to every entry
of a row of W_q gives W_q y = W_q xn + b.

This is exact for any weights. In FP16 the relative error of the bias is about 5e-4, as if it were added. It is only for graphs
whose norm is not quantised: with folded scales, outliers would share one INT8 step with all other channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...bundle.precision import Form
from ...model.config import LevelShape, ModelConfig
from .builder import Array

Weights = dict[str, Array]  # a state dict as FP32 arrays
Shape = ModelConfig | LevelShape  # of a block: its width and heads

# A power of two is exact in every type. The larger it is, the less the rounding of the other channels affects the bias: in FP16
# they sum to 0 within 0.005 for DeiT-S, which is 3e-4 of 16, about one rounding.
LIFT = 16.0


@dataclass(frozen=True)
class AttentionWeights:
    """norm_scale, norm_shift, proj_bias: (D,). qkv: (3 D, D), Q's rows with the softmax's scale. query_bias: (D,) or None."""

    norm_scale: Array
    norm_shift: Array
    qkv: Array
    query_bias: Array | None
    proj_bias: Array


def attention_weights(weights: Weights, block: str, shape: Shape, form: Form) -> AttentionWeights:
    """The weights of the attention of the block with this name."""
    width = shape.width
    names = ("attn.qkv.weight", "attn.qkv.bias", "norm1.weight", "norm1.bias", "attn.proj.weight", "attn.proj.bias")
    weight, bias, scale, shift, proj, proj_bias = (weights[f"{block}.{name}"].astype(np.float64) for name in names)
    if form == "gpu":
        bias = bias + weight @ shift
        weight = weight * scale
        channel = np.linalg.norm(weight, axis=0).argmin()  # what the rest has to stand in for: as little as may be
        weight -= weight[:, channel : channel + 1]
        weight[:width] += bias[:width, None] / LIFT
        scale, shift = np.ones(width), np.where(np.arange(width) == channel, LIFT, 0)
    softmax_scale = shape.head_width**-0.5  # softmax(q k^T / sqrt(D/H)): the only scale, and free
    weight[:width] *= softmax_scale
    made = scale, shift, weight, bias[:width] * softmax_scale, proj_bias + proj @ bias[2 * width :]
    norm_scale, norm_shift, qkv, query_bias, folded = (values.astype(np.float32) for values in made)
    return AttentionWeights(norm_scale, norm_shift, qkv, query_bias if form == "cpu" else None, folded)
