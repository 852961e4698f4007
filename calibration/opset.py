"""The newer opset of graphs that one precision needs: FP8 types, and scales of Q/DQ pairs in FP16."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from ..bundle.precision import FP16_SCALES_OPSET

FP16_SCALES_IR = 9  # of that opset's release


def raise_opset(model: onnx.ModelProto) -> None:
    """Makes it a graph of FP16_SCALES_OPSET, in place. Of our operators only ReduceMax changed: its axes became an input."""
    if model.opset_import[0].version >= FP16_SCALES_OPSET:
        return
    for node in model.graph.node:
        if node.op_type == "ReduceMax":
            (axes,) = [attribute for attribute in node.attribute if attribute.name == "axes"]
            name = f"{node.name}.axes"
            model.graph.initializer.append(numpy_helper.from_array(np.array(axes.ints, np.int64), name))
            node.input.append(name)
            node.attribute.remove(axes)
    model.opset_import[0].version, model.ir_version = FP16_SCALES_OPSET, FP16_SCALES_IR
