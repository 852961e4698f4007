"""The table of quantizers: each makes a quantised graph of an FP32 one. A row of bundle/precision.py names one of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import onnx

from .qdq_placement import insert_qdq, weighted_layers

# From a graph, the largest magnitude of each layer's activation, and layers to leave alone, to a changed copy.
Quantizer = Callable[[onnx.ModelProto, Mapping[str, float], Collection[str]], onnx.ModelProto]

ATTENTION = (".attn.qkv", ".attn.proj")


def insert_mlp_qdq(model: onnx.ModelProto, ranges: Mapping[str, float], left: Collection[str] = ()) -> onnx.ModelProto:
    """The same without attention's products, a third of the MACs.

    On a GPU an INT8 product in front of attention costs three kernels per block, one behind it another, and both the
    fusion with what follows; MLP products cost one each (docs/precision.md has the numbers).
    """
    attention = [layer.name for layer in weighted_layers(model) if layer.name.endswith(ATTENTION)]
    return insert_qdq(model, ranges, [*left, *attention])


QUANTIZERS: dict[str, Quantizer] = {"int8": insert_qdq, "int8_mlp": insert_mlp_qdq}
