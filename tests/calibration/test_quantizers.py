"""Which layers each quantizer of the table leaves alone, and how FP8 rounds."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from sacvit.bundle.precision import PRECISIONS
from sacvit.calibration.onnx_session import Session
from sacvit.calibration.qdq_placement import weighted_layers
from sacvit.calibration.quantizers import BY_LARGEST, QUANTIZERS

LARGEST_E4M3 = 448


@pytest.fixture
def sac_graph(graphs: tuple[onnx.ModelProto, onnx.ModelProto]) -> onnx.ModelProto:
    return graphs[1]


def quantised_layers(model: onnx.ModelProto) -> set[str]:
    return {layer.name for layer in weighted_layers(model) if layer.activation.endswith(".dequantized")}


@pytest.mark.parametrize(
    ("name", "left"),
    [("int8", ()), ("int8_mlp", (".attn.qkv", ".attn.proj")), ("fp8", (".attn.qkv", "patch_embed"))],
)
def test_a_quantizer_takes_every_layer_but_those_that_cost_more_than_they_bring(sac_graph, name, left):
    layers = {layer.name for layer in weighted_layers(sac_graph)}
    ranges = {layer.activation: 2.0 for layer in weighted_layers(sac_graph)}
    found = quantised_layers(QUANTIZERS[name](sac_graph, ranges))
    assert found == {layer for layer in layers if not (left and layer.endswith(left))} and found


def test_a_layer_that_is_to_be_left_stays_out_of_fp8(sac_graph):
    ranges = {layer.activation: 2.0 for layer in weighted_layers(sac_graph)}
    left = "blocks.1.mlp.fc1"
    all_of_them, found = (quantised_layers(QUANTIZERS["fp8"](sac_graph, ranges, names)) for names in ([], [left]))
    assert all_of_them - found == {left}


def test_fp8_scales_put_the_largest_value_seen_on_the_largest_of_e4m3(sac_graph):
    layer = next(layer for layer in weighted_layers(sac_graph) if layer.name == "blocks.1.mlp.fc1")
    ranges = {layer.activation: 3.5 for layer in weighted_layers(sac_graph)}
    model = QUANTIZERS["fp8"](sac_graph, ranges)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    step = numpy_helper.to_array(constants[f"{layer.activation}.step"])
    assert step == pytest.approx(3.5 / LARGEST_E4M3, rel=2**-10) and step * LARGEST_E4M3 >= 3.5
    assert constants[f"{layer.activation}.zero"].data_type == TensorProto.FLOAT8E4M3FN


def test_a_graph_with_fp8_pairs_runs_before_its_body_is_retyped(sac_graph, stage_inputs):
    ranges = {layer.activation: 2.0 for layer in weighted_layers(sac_graph)}
    found = Session(QUANTIZERS["fp8"](sac_graph, ranges)).run(stage_inputs[1])["logits"]
    assert np.isfinite(found).all() and (found != Session(sac_graph).run(stage_inputs[1])["logits"]).any()


def test_onnx_runtime_rounds_fp8_pairs_as_ml_dtypes_does():
    values = (np.linspace(-3, 3, 64, dtype=np.float32) ** 3 * 20).reshape(4, 16)
    node, scale, zero = onnx.helper.make_node, np.float32(0.5), "zero"
    nodes = [node("QuantizeLinear", ["x", "scale", zero], ["q"]), node("DequantizeLinear", ["q", "scale", zero], ["y"])]
    info = [onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, [4, 16]) for name in "xy"]
    constants = [
        numpy_helper.from_array(np.asarray(scale), "scale"),
        onnx.helper.make_tensor(zero, TensorProto.FLOAT8E4M3FN, [], [0.0]),
    ]
    graph = onnx.helper.make_graph(nodes, "g", info[:1], info[1:], constants)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)], ir_version=9)
    expected = (values / scale).clip(-LARGEST_E4M3, LARGEST_E4M3).astype(ml_dtypes.float8_e4m3fn).astype(np.float32)
    assert (Session(model).run({"x": values})["y"] == expected * scale).all()


def test_every_row_names_a_quantizer_of_the_table():
    named = {row.quantizer for row in PRECISIONS if row.quantizer}
    assert named == set(QUANTIZERS) and named >= BY_LARGEST
