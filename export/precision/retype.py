"""An FP32 or Q/DQ graph as an FP16 or a BF16 one: a body in that type, FP32 islands, the same inputs and outputs.

From 10 on TensorRT can compute in the types of the graph, and 11 always does: precision is a property of the file. This needs
onnx-graphsurgeon but not torch, so that a device can do it.

FP32 stay: the halving of the image, every LayerNorm and softmax, class attention from its softmax on, selection, the head,
the confidence; and in an FP16 graph each operator that reads or writes a tensor whose magnitude on the calibration images
exceeds the limit, or that reads a weight which FP16 cannot hold. BF16 holds whatever FP32 holds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx_graphsurgeon.logger import G_LOGGER

from ...bundle.precision import Body
from ...calibration.opset import raise_opset
from .request import FP16_LIMIT, LARGEST_FP16

SMALLEST_NORMAL_FP16 = 2.0**-14

MASK = "cluster_mask"  # adds -1e4 where attention is masked; any large number would do
ISLAND_OPERATORS = frozenset(["LayerNormalization", "Softmax"])
# halve: FP16 represents 255 with a step of 1/8, and this error reaches every layer: a third of the logits' error.
ISLANDS = ("halve", "class_attention", "select.", "window.", "head", "probability", "confidence")
# Operators that move values; they take the type of their input.
MOVES = frozenset(
    ["Concat", "Expand", "Gather", "GatherElements", "Pad", "Reshape", "Slice", "Split", "Transpose", "Unsqueeze"]
)
GROUP = re.compile(r"(blocks\.\d+|patch_embed\.levels\.\d+|patch_embed|reuse_block)\.")
QDQ = frozenset(["QuantizeLinear", "DequantizeLinear"])
TYPES: dict[Body, Any] = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16}


@dataclass
class Retyping:
    """The result of a conversion. `kept`: operators in FP32 beyond the islands, and the magnitude that kept them there."""

    kept: dict[str, float] = field(default_factory=dict)
    weights: int = 0
    subnormal_weights: int = 0  # not 0 in FP32, below FP16's smallest normal number
    overflowing_weights: int = 0  # beyond 65504: their operator stays in FP32


def retype(
    model: onnx.ModelProto,
    largest: Mapping[str, float],
    limit: float = FP16_LIMIT,
    only: str | None = None,
    body: Body = "fp16",
) -> tuple[onnx.ModelProto, Retyping]:
    """The graph in FP16 or BF16, and what was done. largest: |x| by tensor, of the FP32 graph on calibration images.

    limit: what FP16 may hold; no tensor is too large for BF16. only: retypes just the operators of this group (`group_of`),
    for the sensitivity of a layer.
    """
    half = TYPES[body]
    half_onnx = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(half))
    limit = math.inf if body == "bf16" else limit
    G_LOGGER.severity = G_LOGGER.ERROR  # it warns of a terminal without colours
    graph = gs.import_onnx(onnx.shape_inference.infer_shapes(model, strict_mode=True))
    report = Retyping()
    types: dict[str, Any] = {}  # of every float tensor: `half` or np.float32
    casts: dict[tuple[str, Any], gs.Variable] = {}
    nodes: list[gs.Node] = []

    def typed(tensor: gs.Tensor, wanted: Any) -> gs.Tensor:
        """The tensor in a type: itself, a converted constant, or the output of a cast."""
        if isinstance(tensor, gs.Constant):
            if tensor.values.dtype == wanted or tensor.values.dtype != np.float32:
                return tensor
            key = (tensor.name, wanted)
            if key not in casts:
                values = tensor.values.astype(wanted)
                count_subnormal(tensor.values, half, report)
                casts[key] = gs.Constant(f"{tensor.name}.{body}", values)
            return casts[key]
        found = types.get(tensor.name)
        if found is None or found == wanted:
            return tensor
        key = (tensor.name, wanted)
        if key not in casts:
            name = f"{tensor.name}.{body if wanted == half else 'fp32'}"
            casts[key] = gs.Variable(name, wanted, tensor.shape)
            to = half_onnx if wanted == half else onnx.TensorProto.FLOAT
            nodes.append(gs.Node("Cast", name, {"to": to}, [tensor], [casts[key]]))
        return casts[key]

    sizes = dict(largest)
    sources = dequantized_sources(graph)
    types.update({tensor.name: np.float32 for tensor in graph.inputs if tensor.dtype == np.float32})
    outputs = {tensor.name for tensor in graph.outputs}
    for node in list(graph.nodes):
        if node.op in MOVES:
            sizes.update({node.outputs[0].name: max(sizes.get(tensor.name, 0.0) for tensor in node.inputs)})
        wanted = half if is_half(node, types, sources, sizes, limit, report, only) else np.float32
        if node.op == "Cast" and node.outputs[0].dtype == np.float32:
            node.attrs["to"] = half_onnx if wanted == half else onnx.TensorProto.FLOAT
        node.inputs = [typed(tensor, wanted) for tensor in node.inputs]
        nodes.append(node)
        for place, tensor in enumerate(node.outputs):
            if tensor.dtype != np.float32:
                continue
            types[tensor.name] = wanted
            if wanted == half and tensor.name in outputs:
                # The boundary is the same in every precision: any EE fits any SAC of its export.
                inner = gs.Variable(f"{tensor.name}.{body}", half, tensor.shape)
                node.outputs[place] = inner
                nodes.append(gs.Node("Cast", f"{tensor.name}.out", {"to": onnx.TensorProto.FLOAT}, [inner], [tensor]))
                types[inner.name], types[tensor.name] = half, np.float32
                casts[tensor.name, half] = inner
            else:
                tensor.dtype = wanted
    graph.nodes = nodes
    return exported(graph, model), report


def group_of(operator: str) -> str | None:
    """The part of the network that an operator belongs to, for the sensitivity: a block, a level, the embedding of pixels."""
    found = GROUP.match(operator)
    return found[1] if found else None


def exported(graph: gs.Graph, model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph as a checked model with the metadata of `model`; with Q/DQ, in the first opset with FP16 scales."""
    has_scales = any(node.op in QDQ for node in graph.nodes)
    out: onnx.ModelProto = gs.export_onnx(graph.cleanup())
    out.ir_version, out.producer_name = model.ir_version, model.producer_name
    out.metadata_props.extend(model.metadata_props)
    if has_scales:
        raise_opset(out)
    onnx.checker.check_model(out, full_check=True)
    return out


def is_half(
    node: gs.Node,
    types: Mapping[str, Any],
    sources: Mapping[str, gs.Tensor],
    sizes: Mapping[str, float],
    limit: float,
    report: Retyping,
    only: str | None,
) -> bool:
    """Whether an operator computes in the type of the body; else in FP32."""
    if node.op in QDQ:
        following = node.outputs[0].outputs[0]
        return is_half(following, types, sources, sizes, limit, report, only)
    if node.op in MOVES:
        moved = {types[tensor.name] for tensor in node.inputs if tensor.name in types}
        if moved:  # where one of several is too large for FP16, their joint is too
            return np.float32 not in moved
    if node.op in ISLAND_OPERATORS or node.name.startswith(ISLANDS):
        return False
    if only is not None and group_of(node.name) != only:
        return False
    read = [sources.get(tensor.name, tensor) for tensor in node.inputs]
    names = [tensor.name for tensor in (*read, *node.outputs)]
    size = 0.0 if MASK in names else max(sizes.get(name, 0.0) for name in names)
    for tensor in read:
        if isinstance(tensor, gs.Constant) and tensor.values.dtype == np.float32:
            magnitudes = np.abs(tensor.values)
            if limit < math.inf and (count := int((magnitudes > LARGEST_FP16).sum())):
                report.overflowing_weights += count if node.name not in report.kept else 0
                size = max(size, float(magnitudes.max()))
    if size > limit:
        report.kept[node.name] = size
        return False
    return True


def dequantized_sources(graph: gs.Graph) -> dict[str, gs.Tensor]:
    """The tensor in front of each Q/DQ pair, by the name of the pair's output: limits refer to real tensors."""
    return {
        node.outputs[0].name: node.inputs[0].inputs[0].inputs[0]
        for node in graph.nodes
        if node.op == "DequantizeLinear"
    }


def count_subnormal(values: Any, half: Any, report: Retyping) -> None:
    magnitudes = np.abs(values)
    report.weights += int(values.size)
    if half == np.float16:
        report.subnormal_weights += int(((magnitudes > 0) & (magnitudes < SMALLEST_NORMAL_FP16)).sum())
