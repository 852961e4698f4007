"""The table of quantizers: each makes a quantised graph of an FP32 one. A row of bundle/precision.py names one of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import onnx

from .qdq_placement import insert_qdq

# From a graph, the largest magnitude of each layer's activation, and layers to leave alone, to a changed copy.
Quantizer = Callable[[onnx.ModelProto, Mapping[str, float], Collection[str]], onnx.ModelProto]

QUANTIZERS: dict[str, Quantizer] = {"int8": insert_qdq}
