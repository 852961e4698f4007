"""The portable subset: which operators, types and opset a graph may use. docs/graphs.md says why each is in or out."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import TensorProto

from ...bundle.errors import GuardError
from ...bundle.precision import OPSET, Precision, row_of
from ...calibration.qdq_placement import placement_faults

ALLOWED_OPERATORS = frozenset(
    [
        *("Cast", "Concat", "Expand", "Gather", "GatherElements", "Pad", "Reshape", "Slice", "Split", "Transpose"),
        *("Add", "Div", "Erf", "LayerNormalization", "MatMul", "Mul", "ReduceMax", "ReduceSum", "Softmax", "Sub"),
        *("TopK", "Unsqueeze"),
    ]
)
QDQ_OPERATORS = frozenset(["QuantizeLinear", "DequantizeLinear"])
ALLOWED_BOUNDARY = {TensorProto.UINT8: "uint8", TensorProto.INT32: "int32", TensorProto.FLOAT: "float32"}
# Where ONNX itself wants int64: shapes, axes and sizes, by operator and place of the input.
INT64_INPUTS = {
    "ReduceMax": {1},
    "ReduceSum": {1},
    "Reshape": {1},
    "Slice": {1, 2, 3},
    "Split": {1},
    "Unsqueeze": {1},
    "Expand": {1},
    "Pad": {1},
    "TopK": {1},
}


def lint_graph(model: onnx.ModelProto, precision: Precision = "fp32") -> list[str]:
    """Everything in a graph that some supported TensorRT would refuse or read differently; empty when it is clean.

    A precision brings its own types and operators: FP16 tensors, Q/DQ pairs, and for FP16 scales a newer opset.
    """
    return list(_faults(model, precision))


def require_clean(name: str, model: onnx.ModelProto, precision: Precision = "fp32") -> None:
    """Raises GuardError that lists the faults of `lint_graph`."""
    faults = lint_graph(model, precision)
    if faults:
        raise GuardError(f"{name} is not portable: {'; '.join(faults)}")


def _faults(model: onnx.ModelProto, precision: Precision) -> Iterator[str]:
    row = row_of(precision)
    half = {"fp32": set(), "fp16": {TensorProto.FLOAT16}, "bf16": {TensorProto.BFLOAT16}}[row.body]
    operators = ALLOWED_OPERATORS | (QDQ_OPERATORS if row.quantizer else set())
    # --auto may leave no layer in INT8, and then there is no scale either.
    has_scales = any(node.op_type in QDQ_OPERATORS for node in model.graph.node)
    opset = row.opset if has_scales else OPSET
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    if opsets != {"ai.onnx": opset}:
        yield f"opset must be ai.onnx {opset}, found {opsets}"
    yield from placement_faults(model)
    graph = model.graph
    constants = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for value in (*graph.input, *graph.output):
        kind = value.type.tensor_type.elem_type
        if kind not in ALLOWED_BOUNDARY:
            yield f"{value.name} is {TensorProto.DataType.Name(kind)} at the boundary; allowed are uint8, int32, float32"
    from_top_k = set()
    for node in graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in operators:
            yield f"{node.name}: operator {node.domain or 'ai.onnx'}.{node.op_type} is not in the portable list"
        if node.op_type == "TopK":
            from_top_k.add(node.output[1])
            if node.input[1] not in constants:
                yield f"{node.name}: TopK needs a constant K"
    for node in graph.node:
        places = INT64_INPUTS.get(node.op_type, set())
        for place, name in enumerate(node.input):
            if constants.get(name) == TensorProto.INT64 and place not in places:
                yield f"{node.name}: int64 constant {name} as data; use int32"
            if name in from_top_k and node.op_type != "Cast":
                yield f"{node.name}: reads TopK's int64 indices; cast them to int32 first"
            if place in places and name not in constants:
                yield f"{node.name}: {name} must be a constant, shapes are fixed at export"
    for attribute_node in graph.node:
        if attribute_node.op_type == "Cast":
            to = next(attribute.i for attribute in attribute_node.attribute if attribute.name == "to")
            if to not in {*ALLOWED_BOUNDARY, *half}:
                yield f"{attribute_node.name}: cast to {TensorProto.DataType.Name(to)}, which {precision} does not use"
    zero_points = {TensorProto.DataType.Value(row.rounds_to)} if row.quantizer else set()
    for name, kind in constants.items():
        if kind not in {TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64, *half, *zero_points}:
            yield f"constant {name} is {TensorProto.DataType.Name(kind)}, which {precision} does not use"
