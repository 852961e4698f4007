"""FP16 and BF16 graphs on a CPU, rounded where a GPU rounds.

ONNX Runtime has no FP16 kernels for x86: it computes whole stretches of an FP16 graph in FP32 and drops the casts
between. A decomposed LayerNorm that overflows on every GPU comes out right there. BF16 products it does not have at all. So the
check writes the casts out: each such operator computes in FP32, and its result goes to the type and back. ONNX Runtime keeps
casts that stand in the file, and rounds to the nearest even number in both types. FP8 it rounds itself, in Q/DQ pairs.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HALVES, SINGLE = (TensorProto.FLOAT16, TensorProto.BFLOAT16), TensorProto.FLOAT


def rounded_as_typed(model: onnx.ModelProto) -> onnx.ModelProto:
    """A graph of FP32 operators that gives what an FP16 or BF16 graph gives when every operator's result is rounded.

    Sums inside an operator stay FP32, as tensor cores add. A dequantized tensor is not rounded: TensorRT multiplies the
    integers.
    """
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    typed = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    kinds |= {
        value.name: value.type.tensor_type.elem_type for value in (*typed.input, *typed.value_info, *typed.output)
    }
    out = onnx.ModelProto()
    out.CopyFrom(model)
    del out.graph.node[:], out.graph.value_info[:]
    for tensor in out.graph.initializer:
        if tensor.data_type in HALVES:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    for original in model.graph.node:
        node, rounding = onnx.NodeProto(), []
        node.CopyFrom(original)
        if node.op_type == "Cast" and node.attribute[0].i in HALVES:
            node.attribute[0].i = SINGLE
        for place, name in enumerate(original.output):
            if kinds[name] in HALVES and node.op_type != "DequantizeLinear":
                node.output[place] = f"{name}.unrounded"
                rounding += [
                    helper.make_node("Cast", [f"{name}.unrounded"], [f"{name}.half"], f"{name}.half", to=kinds[name]),
                    helper.make_node("Cast", [f"{name}.half"], [name], f"{name}.rounded", to=SINGLE),
                ]
        out.graph.node.extend([node, *rounding])
    return out
