"""Why FP16 graphs are rewritten before a CPU judges them, and that the rewritten ones round where a GPU rounds."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sacvit.calibration.onnx_session import Session
from sacvit.export.precision.rounding import rounded_as_typed

HALF, SINGLE = TensorProto.FLOAT16, TensorProto.FLOAT
VALUES = np.linspace(-3, 3, 64, dtype=np.float32) ** 3  # most of them no FP16 numbers


def graph_of(nodes: list[onnx.NodeProto], constants: dict[str, Any], size: int, opset: int = 17) -> onnx.ModelProto:
    """x (size,) float32 -> y (size,) float32."""
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    values = [helper.make_tensor_value_info(name, SINGLE, [size]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def op(kind: str, *names: str, **attributes: Any) -> onnx.NodeProto:
    """The last of the names is the output's, and the operator's own."""
    return helper.make_node(kind, names[:-1], names[-1:], names[-1], **attributes)


def norm_of_squares() -> onnx.ModelProto:
    """sqrt(x * x) in FP16: the heart of a decomposed LayerNorm."""
    nodes = [
        op("Cast", "x", "half", to=HALF),
        op("Mul", "half", "half", "square"),
        op("Sqrt", "square", "root"),
        op("Cast", "root", "y", to=SINGLE),
    ]
    return graph_of(nodes, {}, 1)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return Session(model).run({"x": x})["y"]


def test_onnx_runtime_alone_hides_an_overflow_of_fp16():
    """300 * 300 is beyond FP16, whose largest number is 65504: every GPU gives infinity here."""
    assert run(norm_of_squares(), np.array([300], np.float32)).tolist() == [300]


def test_the_rewritten_graph_shows_the_overflow():
    assert run(rounded_as_typed(norm_of_squares()), np.array([300], np.float32)).tolist() == [np.inf]


def test_results_are_numpys_in_fp16_operator_by_operator():
    constants = {"c": np.float16(0.3), "d": np.float16(1.7)}
    nodes = [
        op("Cast", "x", "half", to=HALF),
        op("Mul", "half", "c", "a"),
        op("Add", "a", "half", "b"),
        op("Div", "b", "d", "e"),
        op("Sub", "e", "c", "f"),
        op("Cast", "f", "y", to=SINGLE),
    ]
    half = VALUES.astype(np.float16)
    expected = (half * constants["c"] + half) / constants["d"] - constants["c"]
    assert expected.dtype == np.float16
    assert (run(rounded_as_typed(graph_of(nodes, constants, 64)), VALUES) == expected).all()


def test_bf16_is_rounded_to_the_nearest_even_number_and_has_fp32_s_range():
    nodes = [
        op("Cast", "x", "short", to=TensorProto.BFLOAT16),
        op("Mul", "short", "short", "square"),
        op("Cast", "square", "y", to=SINGLE),
    ]
    # 1 + 2^-8 lies between two BF16 numbers; 300 * 300 is 90000, which FP16 does not hold.
    values = np.array([1 + 2.0**-8, 1 + 3 * 2.0**-8, 300, 1e19], np.float32)
    expected = (values.astype(ml_dtypes.bfloat16) ** 2).astype(np.float32)
    assert expected.tolist()[0] == 1 and np.isfinite(expected).all()
    assert run(rounded_as_typed(graph_of(nodes, {}, 4)), values).tolist() == expected.tolist()


def test_a_sum_inside_an_operator_is_fp32():
    """As tensor cores add. In FP16 a sum of ones stops at 2048: the next number is 2050."""
    ones = np.ones((1, 4096), np.float16)
    assert np.add.accumulate(ones[0])[-1] == 2048
    nodes = [
        op("Cast", "x", "half", to=HALF),
        op("Mul", "row", "half", "a"),
        op("MatMul", "a", "column", "b"),
        op("Reshape", "b", "shape", "c"),
        op("Cast", "c", "y", to=SINGLE),
    ]
    model = graph_of(nodes, {"row": ones, "column": ones.T.copy(), "shape": np.array([1])}, 1)
    assert run(rounded_as_typed(model), np.ones(1, np.float32)) == 4096


def test_an_fp32_operator_is_not_rounded():
    model = graph_of([op("Mul", "x", "c", "y")], {"c": np.float32(0.3)}, 64)
    assert (run(rounded_as_typed(model), VALUES) == VALUES * np.float32(0.3)).all()


def quantized(reader: list[onnx.NodeProto]) -> onnx.ModelProto:
    """Q and DQ with an FP16 scale, and what reads them."""
    constants = {"scale": np.float16(0.1), "zero": np.int8(0), "one": np.float16(1)}
    nodes = [
        op("Cast", "x", "half", to=HALF),
        op("QuantizeLinear", "half", "scale", "zero", "q"),
        op("DequantizeLinear", "q", "scale", "zero", "d"),
    ]
    return graph_of([*nodes, *reader], constants, 1, opset=19)


LARGE = np.array([100], np.float32)  # saturates at 127
EXACT = np.float32(127) * np.float32(np.float16(0.1))  # 12.696...; FP16 has 12.695 and 12.703


def test_a_dequantized_tensor_is_not_rounded():
    found = run(rounded_as_typed(quantized([op("Cast", "d", "y", to=SINGLE)])), LARGE)
    assert found == EXACT != np.float32(np.float16(EXACT))


def test_what_is_computed_from_a_dequantized_tensor_is_rounded():
    reader = [op("Mul", "d", "one", "m"), op("Cast", "m", "y", to=SINGLE)]
    assert run(rounded_as_typed(quantized(reader)), LARGE) == np.float16(EXACT)


def test_integers_are_not_rounded():
    """2049 is no FP16 number: an index that went through FP16 would point elsewhere."""
    nodes = [
        op("Cast", "x", "index", to=TensorProto.INT32),
        op("Add", "index", "one", "next"),
        op("Cast", "next", "y", to=SINGLE),
    ]
    model = graph_of(nodes, {"one": np.int32(1)}, 1)
    assert run(rounded_as_typed(model), np.array([2048], np.float32)) == 2049


def test_no_fp16_operator_is_left(graphs):
    rewritten = rounded_as_typed(graphs["EE", "int8fp16"])
    assert not [tensor.name for tensor in rewritten.graph.initializer if tensor.data_type == HALF]
    typed = onnx.shape_inference.infer_shapes(rewritten, strict_mode=True).graph
    half = {value.name for value in typed.value_info if value.type.tensor_type.elem_type == HALF}
    assert half and half == {
        node.output[0] for node in rewritten.graph.node if node.op_type == "Cast" and node.attribute[0].i == HALF
    }


def test_inputs_and_outputs_stay(graphs):
    model = graphs["SAC", "fp16"]
    rewritten = rounded_as_typed(model)
    assert list(rewritten.graph.input) == list(model.graph.input)
    assert list(rewritten.graph.output) == list(model.graph.output)


def test_the_fp16_graph_itself_is_not_changed(graphs, kept_graphs):
    rounded_as_typed(graphs["EE", "fp16"])
    assert graphs["EE", "fp16"] == kept_graphs["EE", "fp16"]
