"""Weights that are stored rounded: small files, and the answers of the graph that rounds them, to the bit."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from sacvit.calibration.onnx_session import Session
from sacvit.calibration.qdq_placement import insert_qdq, placement_faults, weighted_layers
from sacvit.calibration.stored_weights import quantized_constants, store_quantized
from sacvit.export.precision.retype import retype

STAGES = pytest.mark.parametrize("stage", [0, 1], ids=["EE", "SAC"])
VALUES = [0.5, 1.5, -2.5, 126.5, 127.5, 500.0, -127.5, -128.5, -500.0, 0.49999997]  # ties, and what saturates


def one_weight(kind: int, float_type: int) -> onnx.ModelProto:
    """A graph that quantizes and dequantizes one constant (2, 5), a step for each column, and adds it to its input."""
    weight = helper.make_tensor("weight", float_type, [2, 5], VALUES)
    parts = [weight, helper.make_tensor("step", float_type, [5], [1, 1, 0.5, 3, 1])]
    parts.append(helper.make_tensor("zero", kind, [5], [0] * 5))
    nodes = [
        helper.make_node("QuantizeLinear", ["weight", "step", "zero"], ["small"], "small", axis=1),
        helper.make_node("DequantizeLinear", ["small", "step", "zero"], ["large"], "large", axis=1),
        helper.make_node("Add", ["x", "large"], ["y"], "add"),
    ]
    ends = [[helper.make_tensor_value_info(name, float_type, [2, 5])] for name in "xy"]
    graph = helper.make_graph(nodes, "one", *ends, parts)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


@pytest.mark.parametrize("float_type", [TensorProto.FLOAT, TensorProto.FLOAT16], ids=["FP32", "FP16"])
@pytest.mark.parametrize("kind", [TensorProto.INT8, TensorProto.FLOAT8E4M3FN], ids=["INT8", "FP8"])
def test_ties_and_values_beyond_the_range_are_stored_as_quantize_linear_rounds_them(kind, float_type):
    model = one_weight(kind, float_type)
    x = np.zeros((2, 5), helper.tensor_dtype_to_np_dtype(float_type))
    (expected,), (found,) = (ReferenceEvaluator(one).run(None, {"x": x}) for one in (model, store_quantized(model)))
    np.testing.assert_array_equal(found, expected)


@STAGES
def test_stored_weights_give_the_same_answers_to_the_bit(int8_graphs, stage_inputs, stage):
    before, after = (
        Session(model).run(stage_inputs[stage]) for model in (int8_graphs[stage], stored(int8_graphs[stage]))
    )
    assert {name: values.tobytes() for name, values in after.items()} == {
        name: values.tobytes() for name, values in before.items()
    }


def stored(model: onnx.ModelProto) -> onnx.ModelProto:
    found = store_quantized(model)
    assert found != model
    return found


@STAGES
def test_no_weight_of_a_quantized_layer_is_left_in_full_precision(int8_graphs, stage):
    model = store_quantized(int8_graphs[stage])
    assert list(quantized_constants(model)) == []
    constants = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    readers = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    assert {constants[readers[layer.weight]] for layer in weighted_layers(model)} == {TensorProto.INT8}


@STAGES
def test_what_stays_is_read(int8_graphs, stage):
    model = store_quantized(int8_graphs[stage])
    read = {name for node in model.graph.node for name in node.input}
    assert {tensor.name for tensor in model.graph.initializer} <= read


@STAGES
def test_a_graph_with_stored_weights_has_no_placement_faults(int8_graphs, stage):
    assert list(placement_faults(store_quantized(int8_graphs[stage]))) == []


def test_a_graph_whose_weights_are_stored_already_stays_as_it_is(int8_graphs):
    onnx.helper.set_model_props(before := store_quantized(int8_graphs[0]), {"sacvit.precision": "int8"})
    assert store_quantized(before) == before


def test_fp16_weights_are_rounded_from_their_fp16_values(graphs, ranges):
    typed, _ = retype(insert_qdq(graphs[0], ranges[0]), {})
    small = store_quantized(typed)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in typed.graph.initializer}
    stored_weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in small.graph.initializer}
    for node in quantized_constants(typed):
        weight, step, _ = (weights[name] for name in node.input)
        assert weight.dtype == step.dtype == np.float16
        wanted = np.rint(weight.astype(np.float32) / step.astype(np.float32)).clip(-128, 127)
        np.testing.assert_array_equal(stored_weights[node.output[0]], wanted)
