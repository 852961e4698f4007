"""Places quantization in a graph: a Q/DQ pair on both inputs of every weighted matrix product, and nowhere else.

Weighted are the patch embedding, qkv, proj, fc1, fc2, the reuse MLP and the merges of a hierarchical network. The head and the
attention products are left out, and so are residual adds, norms, softmaxes and GELUs: quantizing them destroys a ViT's accuracy
(docs/precision.md). Symmetric, one scale for an activation, one per column for a weight (K, N), zero points 0: what every
TensorRT from 8.6 on takes in int8.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..bundle.precision import Stored
from .opset import raise_opset

LEVELS = 127  # of INT8, of each sign; -128 is left to values that are clipped
LARGEST: dict[Stored, float] = {"INT8": LEVELS, "FLOAT8E4M3FN": 448}  # E4M3: arXiv 2209.05433, table 1
HEAD = "head"  # one row at batch 1, which INT8 does not speed up, and errors here change decisions directly
PIXEL_LAYER = "patch_embed"  # reads centred pixels, (p - 128) / 128
PIXEL_STEP = 1 / 128  # the pixels' own step: SAC's patches lose nothing, EE's at most half a step of the 8-bit image
SMALLEST_STEP = 2.0**-18  # 64 of FP16's smallest steps: below, FP16 cannot hold a scale to 1 %
MATMUL = ".matmul"  # ends the name of a weighted product in our graphs; the layer's name stands before it
WEIGHT_AXIS = 1  # output channels of a weight (K, N)

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Layer:
    """A weighted matrix product. `activation` and `weight` are the names of its two inputs."""

    name: str
    activation: str
    weight: str


def weighted_layers(model: onnx.ModelProto) -> list[Layer]:
    """The layers of an FP32 graph that may be quantized, in the order in which they run."""
    return [
        Layer(node.name.removesuffix(MATMUL), node.input[0], node.input[1])
        for node in model.graph.node
        if node.op_type == "MatMul" and node.name.endswith(MATMUL) and node.name != HEAD + MATMUL
    ]


def insert_qdq(
    model: onnx.ModelProto, ranges: Mapping[str, float], left: Collection[str] = (), kind: Stored = "INT8"
) -> onnx.ModelProto:
    """A copy of an FP32 graph whose layers, but those named in `left`, compute in INT8, or in another kind.

    ranges: the largest magnitude that each layer's activation represents, by tensor. Weights keep their FP32 values in
    front of a Q/DQ pair of their own: what is done to the graph afterwards needs them (stored_weights.py).
    """
    levels, type_number = LARGEST[kind], TensorProto.DataType.Value(kind)
    layers = {layer.name + MATMUL: layer for layer in weighted_layers(model) if layer.name not in left}
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    out = onnx.ModelProto()
    out.CopyFrom(model)
    del out.graph.node[:]
    done: dict[str, str] = {}

    def constant(name: str, value: TensorProto) -> str:
        if name not in done:
            out.graph.initializer.append(value)
            done[name] = name
        return name

    def pair(tensor: str, step: Array) -> str:
        """Adds Q and DQ behind a tensor, once; returns the tensor that the layer reads instead."""
        if tensor not in done:
            scale = constant(f"{tensor}.step", numpy_helper.from_array(step, f"{tensor}.step"))
            name = f"{tensor}.zero"  # one each: shared ones fail in ONNX Runtime 1.31
            zero = constant(name, helper.make_tensor(name, type_number, step.shape, np.zeros(step.size)))
            axis: dict[str, Any] = {"axis": WEIGHT_AXIS} if step.ndim else {}
            done[tensor] = f"{tensor}.dequantized"
            for operator, source, result in (
                ("QuantizeLinear", tensor, f"{tensor}.quantized"),
                ("DequantizeLinear", f"{tensor}.quantized", done[tensor]),
            ):
                out.graph.node.append(helper.make_node(operator, [source, scale, zero], [result], result, **axis))
        return done[tensor]

    for node in model.graph.node:
        layer = layers.get(node.name)
        if layer is None:
            out.graph.node.append(node)
            continue
        step = PIXEL_STEP if layer.name == PIXEL_LAYER else ranges[layer.activation] / levels
        weight = numpy_helper.to_array(weights[layer.weight])
        inputs = [
            pair(layer.activation, as_step(np.array(step))),
            pair(layer.weight, as_step(np.abs(weight).max(0) / levels)),
        ]
        quantized = onnx.NodeProto()
        quantized.CopyFrom(node)
        quantized.input[:] = inputs
        out.graph.node.append(quantized)
    if kind != "INT8":
        raise_opset(out)
    onnx.checker.check_model(out)
    return out


def as_step(step: Array) -> Array:
    """The smallest FP16 numbers that are not below `step`, as FP32; FP16's largest where there is none.

    With them, the INT8 graphs with FP32 and with FP16 scales clip and round values identically.
    """
    wanted = np.clip(step.astype(np.float64), SMALLEST_STEP, float(np.finfo(np.float16).max))
    half = wanted.astype(np.float16)
    up = np.where(half.astype(np.float64) < wanted, np.nextafter(half, np.float16(np.inf)), half)
    return up.astype(np.float32)


def placement_faults(model: onnx.ModelProto) -> Iterator[str]:
    """The faults of a graph's quantization: TensorRT would refuse it, or accuracy would suffer. Empty for a sound graph."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    outputs = {value.name for value in model.graph.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    makers: dict[str, onnx.NodeProto] = {}
    for node in model.graph.node:
        makers.update(dict.fromkeys(node.output, node))
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and outputs & set(node.output):
            yield f"{node.name}: a quantized tensor must not leave the graph"
        if node.op_type == "QuantizeLinear":
            yield from _scale_faults(node, constants)
            after = readers.get(node.output[0], [])
            if [reader.op_type for reader in after] != ["DequantizeLinear"]:
                yield f"{node.name}: a QuantizeLinear must be followed by one DequantizeLinear and nothing else"
            elif list(after[0].input[1:]) != list(node.input[1:]) or _axis(after[0]) != _axis(node):
                yield f"{node.name}: its DequantizeLinear has another scale, zero point or axis"
        if node.op_type == "DequantizeLinear":
            if node.input[0] in constants:
                yield from _scale_faults(node, constants)
            elif node.input[0] not in makers or makers[node.input[0]].op_type != "QuantizeLinear":
                yield f"{node.name}: a DequantizeLinear must follow a QuantizeLinear, or read a constant"
            for reader in readers.get(node.output[0], []):
                if reader.op_type != "MatMul" or not reader.name.endswith(MATMUL) or reader.name == HEAD + MATMUL:
                    yield f"{reader.name}: {reader.op_type} is quantized; only weighted layers may be, and not the head"
        if node.op_type == "MatMul":
            kinds = [makers[name].op_type == "DequantizeLinear" for name in node.input if name in makers]
            if any(kinds) and not (len(kinds) == 2 and all(kinds)):
                yield f"{node.name}: one input is quantized, the other is not"


def _scale_faults(node: onnx.NodeProto, constants: Mapping[str, TensorProto]) -> Iterator[str]:
    data, scale_name, zero_name = (*node.input, "")[:3]
    if scale_name not in constants or zero_name not in constants:
        yield f"{node.name}: scale and zero point must be constants"
        return
    scale, zero = (numpy_helper.to_array(constants[name]) for name in (scale_name, zero_name))
    kind = TensorProto.DataType.Name(constants[zero_name].data_type)
    if kind not in LARGEST or zero.astype(np.float32).any() or zero.shape != scale.shape:
        known = " or ".join(LARGEST)
        yield f"{node.name}: the zero point must be {known} zeros in the shape of the scale: TensorRT is symmetric"
    if not np.isfinite(scale).all() or not (scale > 0).all():
        yield f"{node.name}: every scale must be above 0"
    if data not in constants:
        if scale.ndim:
            yield f"{node.name}: an activation has one scale, found {scale.size}"
    elif _axis(node) != WEIGHT_AXIS or scale.shape != (constants[data].dims[WEIGHT_AXIS],):
        yield (
            f"{node.name}: a weight (K, N) has one scale per column, axis {WEIGHT_AXIS}; found {scale.shape} on axis"
            f" {_axis(node)}"
        )


def _axis(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
