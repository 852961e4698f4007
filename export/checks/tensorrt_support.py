"""Which TensorRT takes which graph, and why not: read off the graph and a table with sources (tensorrt_support.json).

The table says what is documented, not what was built: building is for the device that runs the plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import onnx
from onnx import TensorProto, numpy_helper

from ...bundle.precision import Precision
from ...calibration.qdq_placement import placement_faults
from ..plans.ladder import load_table
from .lint import QDQ_OPERATORS
from .table import table_lines

BOUNDARY = (TensorProto.UINT8, TensorProto.INT32, TensorProto.FLOAT, TensorProto.FLOAT16)


@dataclass(frozen=True)
class Verdict:
    """What one TensorRT makes of one graph. `build`: how it is built there; empty where it is refused."""

    file: str
    precision: Precision
    tensorrt: str
    build: str
    refusals: tuple[str, ...]
    risks: tuple[str, ...]  # known faults of this version, with their source

    @property
    def accepted(self) -> bool:
        return not self.refusals

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "accepted": self.accepted}


def accept(file: str, model: onnx.ModelProto, precision: Precision) -> list[Verdict]:
    """A verdict for every TensorRT in the table."""
    table = load_table()
    verdicts = []
    for version in table["versions"]:
        refusals = tuple(dict.fromkeys(_refusals(model, precision, table, version)))
        risks = tuple(
            f"{entry['symptom']}; {entry['advice']} ({table['sources'].get(entry['source'], entry['source'])})"
            for entry in table["known_bad"]
            if version["version"] in entry["versions"]
            and precision in entry["precisions"]
            and (not entry.get("symbolic_batch") or _is_symbolic(model))
        )
        build = "" if refusals else version["build"][precision]
        verdicts.append(Verdict(file, precision, version["version"], build, refusals, () if refusals else risks))
    return verdicts


def _refusals(
    model: onnx.ModelProto, precision: Precision, table: Mapping[str, Any], version: Mapping[str, Any]
) -> Iterator[str]:
    opset = model.opset_import[0].version
    if opset > version["opset"]:
        yield f"opset {opset}, it parses up to {version['opset']}"
    elif precision not in version["build"]:
        yield f"no way to build {precision} there"
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    is_too_old = _numbers(version["version"]) < _numbers(table["quantized_constants"]["from"])
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in table["operators"]["names"]:
            yield f"operator {node.op_type} ({node.name}) is not in its parser's list"
        if node.op_type == "TopK" and node.input[1] in constants:
            k = int(numpy_helper.to_array(constants[node.input[1]]).item())
            if k > table["largest_top_k"]["value"]:
                yield f"TopK of {k}, the most is {table['largest_top_k']['value']}"
        if node.op_type in QDQ_OPERATORS and opset < table["fp16_scales_opset"]["value"]:
            scale = constants.get(node.input[1])
            if scale is not None and scale.data_type == TensorProto.FLOAT16:
                yield f"FP16 scales need opset {table['fp16_scales_opset']['value']}, the graph has {opset}"
        if node.op_type == "DequantizeLinear" and node.input[0] in constants and is_too_old:
            yield "weights are stored in 8 bits, which it does not take: export with --qdq-weights"
    for value in (*model.graph.input, *model.graph.output):
        kind = value.type.tensor_type.elem_type
        name = TensorProto.DataType.Name(kind).lower()
        if kind == TensorProto.INT64 and not version["int64_boundary"]:
            yield f"{value.name} is int64, which it narrows to int32"
        elif kind not in (*BOUNDARY, TensorProto.INT64):
            yield f"{value.name} is {name} at the boundary"
    yield from placement_faults(model)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _is_symbolic(model: onnx.ModelProto) -> bool:
    return any(dim.dim_param for value in model.graph.input for dim in value.type.tensor_type.shape.dim)


def acceptance_lines(verdicts: Sequence[Verdict]) -> list[str]:
    """The verdicts as a person reads them: a table of precisions and versions, and the reasons below it."""
    versions = list(dict.fromkeys(verdict.tensorrt for verdict in verdicts))
    rows = [["TensorRT", *versions]]
    notes: dict[str, int] = {}
    for precision in dict.fromkeys(verdict.precision for verdict in verdicts):
        row: list[str] = [precision]
        for version in versions:
            mine = [v for v in verdicts if v.precision == precision and v.tensorrt == version]
            reasons = dict.fromkeys(f"{version}: {reason}" for v in mine for reason in (*v.refusals, *v.risks))
            marks = sorted(notes.setdefault(reason, len(notes) + 1) for reason in reasons)
            word = "yes" if all(v.accepted for v in mine) else "no"
            row.append(word + "".join(f" [{mark}]" for mark in marks))
        rows.append(row)
    return table_lines(rows, notes)
