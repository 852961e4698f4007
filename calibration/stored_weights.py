"""Stores the weights of a quantized graph as what they are rounded to: INT8 or FP8 values in front of a DequantizeLinear.

INT8 files are then a quarter as large, and nothing is left to round when one is loaded. The answers are the same to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .qdq_placement import LARGEST

LOWEST_INT8, HIGHEST_INT8 = -128, 127  # where QuantizeLinear saturates


def quantized_constants(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Each QuantizeLinear of a constant: a weight that is stored unrounded."""
    constants = {tensor.name for tensor in model.graph.initializer}
    yield from (node for node in model.graph.node if node.op_type == "QuantizeLinear" and node.input[0] in constants)


def store_quantized(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which the result of each QuantizeLinear of a constant is the constant."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    done = {node.name: _rounded(node, *(constants[name] for name in node.input)) for node in quantized_constants(model)}
    out = onnx.ModelProto()
    out.CopyFrom(model)
    del out.graph.node[:], out.graph.initializer[:]
    out.graph.node.extend(node for node in model.graph.node if node.name not in done)
    read = {name for node in out.graph.node for name in node.input}
    out.graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in read)
    out.graph.initializer.extend(done.values())
    onnx.checker.check_model(out)
    return out


def _rounded(node: onnx.NodeProto, weight: TensorProto, step: TensorProto, zero: TensorProto) -> TensorProto:
    """The output of the node. As in every runtime, it divides in FP32 and rounds ties to even."""
    values, steps = (numpy_helper.to_array(tensor).astype(np.float32) for tensor in (weight, step))
    if zero.data_type == TensorProto.INT8:
        stored = np.rint(values / steps).clip(LOWEST_INT8, HIGHEST_INT8).astype(np.int8).tobytes()
    else:
        most = LARGEST["FLOAT8E4M3FN"]
        stored = (values / steps).clip(-most, most).astype(ml_dtypes.float8_e4m3fn).tobytes()
    return helper.make_tensor(node.output[0], zero.data_type, weight.dims, stored, raw=True)
