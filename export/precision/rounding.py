"""FP16 graphs for a CPU, with the rounding of a GPU.

ONNX Runtime has no FP16 kernels for x86: it computes whole stretches of an FP16 graph in FP32 and drops the casts
between. A decomposed LayerNorm that overflows on every GPU gives the right result there. So the check inserts casts: each
FP16 operator computes in FP32, and its result goes to FP16 and back. ONNX Runtime keeps casts that are in the file.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HALF, SINGLE = TensorProto.FLOAT16, TensorProto.FLOAT


def rounded_like_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """A graph of FP32 operators that gives what the FP16 graph gives when every operator's result is rounded to FP16.

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
        if tensor.data_type == HALF:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    for original in model.graph.node:
        node, rounding = onnx.NodeProto(), []
        node.CopyFrom(original)
        if node.op_type == "Cast" and node.attribute[0].i == HALF:
            node.attribute[0].i = SINGLE
        for place, name in enumerate(original.output):
            if kinds[name] == HALF and node.op_type != "DequantizeLinear":
                node.output[place] = f"{name}.unrounded"
                rounding += [
                    helper.make_node("Cast", [f"{name}.unrounded"], [f"{name}.half"], f"{name}.half", to=HALF),
                    helper.make_node("Cast", [f"{name}.half"], [name], f"{name}.rounded", to=SINGLE),
                ]
        out.graph.node.extend([node, *rounding])
    return out
