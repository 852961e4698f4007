"""The table of quantizers: each makes a quantised graph of an FP32 one. A row of bundle/precision.py names one of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import onnx

from .qdq_placement import PIXEL_LAYER, insert_qdq, weighted_layers

# From a graph, the largest magnitude of each layer's activation, and layers to leave alone, to a changed copy.
Quantizer = Callable[[onnx.ModelProto, Mapping[str, float], Collection[str]], onnx.ModelProto]

BEFORE_ATTENTION, BEHIND_ATTENTION = ".attn.qkv", ".attn.proj"


def insert_mlp_qdq(model: onnx.ModelProto, ranges: Mapping[str, float], left: Collection[str] = ()) -> onnx.ModelProto:
    """The same without attention's products, a third of the MACs.

    On a GPU an INT8 product in front of attention costs three kernels per block, one behind it another, and both the
    fusion with what follows; MLP products cost one each (docs/precision.md has the numbers).
    """
    attention = [
        layer.name for layer in weighted_layers(model) if layer.name.endswith((BEFORE_ATTENTION, BEHIND_ATTENTION))
    ]
    return insert_qdq(model, ranges, [*left, *attention])


def insert_fp8_qdq(model: onnx.ModelProto, ranges: Mapping[str, float], left: Collection[str] = ()) -> onnx.ModelProto:
    """FP8 (E4M3) behind attention and in the MLPs: an FP8 product in front of attention costs three kernels per block, too.

    The patch embedding stays: three bits of mantissa hold no 256 levels of a pixel.
    """
    before = [layer.name for layer in weighted_layers(model) if layer.name.endswith(BEFORE_ATTENTION)]
    return insert_qdq(model, ranges, [*left, PIXEL_LAYER, *before], "FLOAT8E4M3FN")


QUANTIZERS: dict[str, Quantizer] = {"int8": insert_qdq, "int8_mlp": insert_mlp_qdq, "fp8": insert_fp8_qdq}
# Those whose ranges are the largest magnitudes that were seen, by whatever method INT8's are chosen: a floating type loses
# nothing by a wide range, and everything beyond it.
BY_LARGEST = frozenset(["fp8"])
