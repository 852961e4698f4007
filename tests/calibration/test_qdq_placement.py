"""Q/DQ pairs stand on the weighted products and nowhere else; every way to misplace one is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from sacvit.calibration.onnx_session import Session
from sacvit.calibration.qdq_placement import (
    LEVELS,
    PIXEL_STEP,
    SMALLEST_STEP,
    Layer,
    as_step,
    insert_qdq,
    placement_faults,
    weighted_layers,
)

Models = tuple[onnx.ModelProto, onnx.ModelProto]
DEPTH = 5  # of the tiny checkpoint
OF_A_BLOCK = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
IN_BLOCKS = [f"blocks.{block}.{name}" for block in range(DEPTH) for name in OF_A_BLOCK]
BOTH = pytest.mark.parametrize("stage", [0, 1], ids=["EE", "SAC"])
LAYER = "blocks.1.mlp.fc1"


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def node_of(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    (node,) = [node for node in model.graph.node if node.name == name]
    return node


def layer_of(model: onnx.ModelProto, name: str) -> Layer:
    (layer,) = [layer for layer in weighted_layers(model) if layer.name == name]
    return layer


# Which layers


def test_ee_has_the_patch_embedding_and_four_layers_a_block(graphs: Models) -> None:
    assert [layer.name for layer in weighted_layers(graphs[0])] == ["patch_embed", *IN_BLOCKS]


def test_sac_has_the_reuse_mlp_too(graphs: Models) -> None:
    reuse = ["reuse_block.1.fc1", "reuse_block.1.fc2"]
    assert [layer.name for layer in weighted_layers(graphs[1])] == ["patch_embed", *reuse, *IN_BLOCKS]


@BOTH
def test_no_layer_is_the_head_or_an_attention_product(graphs: Models, stage: int) -> None:
    products = {node.name for node in graphs[stage].graph.node if node.op_type == "MatMul"}
    others = products - {f"{layer.name}.matmul" for layer in weighted_layers(graphs[stage])}
    assert "head.matmul" in others
    assert len(others) >= 1 + 2 * DEPTH  # q k^T and the product with v in each block


@BOTH
def test_every_layer_reads_an_activation_and_a_constant_weight(graphs: Models, stage: int) -> None:
    weights = constants(graphs[stage])
    layers = weighted_layers(graphs[stage])
    assert all(layer.weight in weights and layer.activation not in weights for layer in layers)


# The quantized graph


@BOTH
def test_a_quantized_graph_has_no_placement_faults(int8_graphs: Models, stage: int) -> None:
    assert list(placement_faults(int8_graphs[stage])) == []


@BOTH
def test_an_fp32_graph_has_no_placement_faults(graphs: Models, stage: int) -> None:
    assert list(placement_faults(graphs[stage])) == []


@BOTH
def test_a_quantized_graph_passes_the_full_checker(int8_graphs: Models, stage: int) -> None:
    onnx.checker.check_model(int8_graphs[stage], full_check=True)


@BOTH
def test_every_weighted_layer_reads_two_dequantized_inputs(int8_graphs: Models, stage: int) -> None:
    model = int8_graphs[stage]
    dequantized = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    read = [set(node_of(model, f"{layer.name}.matmul").input) <= dequantized for layer in weighted_layers(model)]
    assert all(read)


@BOTH
def test_nothing_but_weighted_layers_reads_a_dequantized_tensor(int8_graphs: Models, stage: int) -> None:
    model = int8_graphs[stage]
    dequantized = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    readers = {node.name for node in model.graph.node if dequantized & set(node.input)}
    assert readers == {f"{layer.name}.matmul" for layer in weighted_layers(model)}


@BOTH
def test_the_graph_s_inputs_outputs_and_opset_stay(graphs: Models, int8_graphs: Models, stage: int) -> None:
    before, after = graphs[stage], int8_graphs[stage]
    assert list(after.graph.input) == list(before.graph.input)
    assert list(after.graph.output) == list(before.graph.output)
    assert list(after.opset_import) == list(before.opset_import)


@BOTH
def test_weights_keep_their_fp32_values(graphs: Models, int8_graphs: Models, stage: int) -> None:
    after = {tensor.name: tensor for tensor in int8_graphs[stage].graph.initializer}
    assert all(after[tensor.name] == tensor for tensor in graphs[stage].graph.initializer)


@BOTH
def test_a_weight_has_one_scale_a_column(int8_graphs: Models, stage: int) -> None:
    held = constants(int8_graphs[stage])
    for layer in weighted_layers(int8_graphs[stage]):
        weight = layer.weight.removesuffix(".dequantized")
        assert held[f"{weight}.step"].shape == held[f"{weight}.zero"].shape == held[weight].shape[1:]


@BOTH
def test_a_weight_s_scale_holds_the_largest_of_its_column(int8_graphs: Models, stage: int) -> None:
    held = constants(int8_graphs[stage])
    for layer in weighted_layers(int8_graphs[stage]):
        weight = layer.weight.removesuffix(".dequantized")
        largest = np.abs(held[weight].astype(np.float64)).max(0)
        step = held[f"{weight}.step"]
        # FP16's next number above: at most 2**-10 more, 1/64 near the smallest step.
        assert ((step * LEVELS >= largest) & (step * LEVELS <= largest * (1 + 1 / 64) + SMALLEST_STEP * LEVELS)).all()


@BOTH
def test_an_activation_s_scale_holds_its_range(int8_graphs: Models, ranges: list[dict[str, float]], stage: int) -> None:
    held = constants(int8_graphs[stage])
    layers = [layer for layer in weighted_layers(int8_graphs[stage]) if layer.name != "patch_embed"]
    for layer in layers:
        activation = layer.activation.removesuffix(".dequantized")
        held_range = held[f"{activation}.step"] * LEVELS
        assert held_range.shape == ()
        assert ranges[stage][activation] <= held_range <= ranges[stage][activation] * (1 + 2.0**-10)


@BOTH
def test_pixels_keep_a_step_of_one_grey_level_whatever_was_measured(graphs: Models, stage: int) -> None:
    model = insert_qdq(graphs[stage], {layer.activation: 0.3 for layer in weighted_layers(graphs[stage])})
    assert constants(model)["patches.step"] == PIXEL_STEP == 1 / 128


@BOTH
def test_every_scale_is_a_number_of_fp16(int8_graphs: Models, stage: int) -> None:
    scales = [value for name, value in constants(int8_graphs[stage]).items() if name.endswith(".step")]
    assert len(scales) >= 2 * len(IN_BLOCKS)
    assert all((scale.astype(np.float16).astype(np.float32) == scale).all() for scale in scales)


@BOTH
def test_every_zero_point_is_an_int8_zero(int8_graphs: Models, stage: int) -> None:
    zeros = [value for name, value in constants(int8_graphs[stage]).items() if name.endswith(".zero")]
    assert len(zeros) >= 2 * len(IN_BLOCKS)
    assert all(zero.dtype == np.int8 and not zero.any() for zero in zeros)


def test_the_fp32_graph_is_not_changed(graphs: Models, ranges: list[dict[str, float]]) -> None:
    before = graphs[0].SerializeToString(deterministic=True)
    insert_qdq(graphs[0], ranges[0])
    assert graphs[0].SerializeToString(deterministic=True) == before


@BOTH
def test_int8_gives_the_logits_of_fp32_within_their_noise(
    graphs: Models, int8_graphs: Models, stage_inputs: tuple[Any, Any], stage: int
) -> None:
    expected = Session(graphs[stage]).run(stage_inputs[stage])["logits"]
    found = Session(int8_graphs[stage]).run(stage_inputs[stage])["logits"]
    # Measured: 0.014 and 0.017, where logits vary by 0.5; a range ten times too large gives 0.1.
    assert np.abs(found - expected).mean() < 0.04


# Layers that stay in FP32


def test_a_layer_that_is_left_out_stays_as_it_was(graphs: Models, ranges: list[dict[str, float]]) -> None:
    model = insert_qdq(graphs[0], ranges[0], [LAYER])
    assert node_of(model, f"{LAYER}.matmul") == node_of(graphs[0], f"{LAYER}.matmul")


def test_neither_input_of_a_layer_that_is_left_out_is_quantized(graphs: Models, ranges: list[dict[str, float]]) -> None:
    layer = layer_of(graphs[0], LAYER)
    model = insert_qdq(graphs[0], ranges[0], [LAYER])
    quantized = {node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    assert not quantized & {layer.activation, layer.weight}


def test_a_layer_that_is_left_out_needs_no_range(graphs: Models, ranges: list[dict[str, float]]) -> None:
    rest = {name: value for name, value in ranges[0].items() if name != layer_of(graphs[0], LAYER).activation}
    assert list(placement_faults(insert_qdq(graphs[0], rest, [LAYER]))) == []


def test_leaving_every_layer_out_gives_the_fp32_graph(graphs: Models) -> None:
    names = [layer.name for layer in weighted_layers(graphs[0])]
    assert insert_qdq(graphs[0], {}, names) == graphs[0]


# Scales


@given(step=st.floats(0, 60_000))
def test_a_step_is_an_fp16_number_not_below_what_was_wanted(step: float) -> None:
    found = as_step(np.array(step))
    assert found.dtype == np.float32
    assert found >= step
    assert np.float16(found) == found


@given(step=st.floats(2.0**-14, 60_000))
def test_a_step_is_the_smallest_such_fp16_number(step: float) -> None:
    found = np.float16(as_step(np.array(step)))
    assert np.nextafter(found, np.float16(0)).astype(np.float64) < step


@pytest.mark.parametrize("step", [0.0, 1e-30, SMALLEST_STEP])
def test_a_step_is_never_smaller_than_fp16_holds_well(step: float) -> None:
    assert as_step(np.array(step)) == SMALLEST_STEP


def test_steps_of_a_column_are_rounded_one_by_one() -> None:
    np.testing.assert_array_equal(as_step(np.array([0.5, 1 / 3, 0.0])), np.float32([0.5, 0.33349609375, 2**-18]))


# Planted faults


Plant = Callable[[onnx.ModelProto], None]


@pytest.fixture
def planted(int8_graphs: Models) -> Callable[[Plant], list[str]]:
    """Plants a fault into a copy of EE; gives back what is found."""

    def find(plant: Plant) -> list[str]:
        copy = onnx.ModelProto()
        copy.CopyFrom(int8_graphs[0])
        plant(copy)
        return list(placement_faults(copy))

    return find


def quantize(model: onnx.ModelProto, reader: onnx.NodeProto, place: int, step: float = 0.1) -> None:
    """A sound Q/DQ pair in front of an operator that must not have one."""
    tensor = reader.input[place]
    model.graph.initializer.append(numpy_helper.from_array(np.array(step, np.float32), "planted.step"))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((), np.int8), "planted.zero"))
    parameters = ["planted.step", "planted.zero"]
    model.graph.node.append(helper.make_node("QuantizeLinear", [tensor, *parameters], ["planted.q"], "planted.q"))
    model.graph.node.append(
        helper.make_node("DequantizeLinear", ["planted.q", *parameters], ["planted.dq"], "planted.dq")
    )
    reader.input[place] = "planted.dq"


def replace_constant(model: onnx.ModelProto, name: str, value: np.ndarray) -> None:
    (tensor,) = [tensor for tensor in model.graph.initializer if tensor.name == name]
    tensor.CopyFrom(numpy_helper.from_array(value, name))


def pair_of(model: onnx.ModelProto, tensor: str) -> tuple[onnx.NodeProto, onnx.NodeProto]:
    return node_of(model, f"{tensor}.quantized"), node_of(model, f"{tensor}.dequantized")


def activation(model: onnx.ModelProto) -> str:
    return layer_of(model, LAYER).activation.removesuffix(".dequantized")


WEIGHT = f"{LAYER}.weight"


@pytest.mark.parametrize(
    "kind", ["Add", "LayerNormalization", "Softmax", "Erf", "TopK", "ReduceMax", "Mul", "Transpose"]
)
def test_a_quantized_input_of_another_operator_is_a_fault(planted: Any, kind: str) -> None:
    names = []

    def plant(model: onnx.ModelProto) -> None:
        reader = [node for node in model.graph.node if node.op_type == kind][-1]
        quantize(model, reader, 0)
        names.append(reader.name)

    (fault,) = planted(plant)
    assert fault == f"{names[0]}: {kind} is quantized; only weighted layers may be, and not the head"


def test_a_quantized_residual_add_is_a_fault(planted: Any) -> None:
    def plant(model: onnx.ModelProto) -> None:
        makers = {name: node for node in model.graph.node for name in node.output}
        residuals = [  # both inputs are computed: neither is a bias
            node for node in model.graph.node if node.op_type == "Add" and all(name in makers for name in node.input)
        ]
        assert len(residuals) >= 2 * DEPTH
        quantize(model, residuals[DEPTH], 1)

    (fault,) = planted(plant)
    assert "Add is quantized; only weighted layers may be" in fault


def test_a_quantized_head_is_a_fault(planted: Any) -> None:
    def plant(model: onnx.ModelProto) -> None:
        quantize(model, node_of(model, "head.matmul"), 0)

    faults = planted(plant)
    assert "head.matmul: MatMul is quantized; only weighted layers may be, and not the head" in faults


def test_a_quantized_attention_product_is_a_fault(planted: Any) -> None:
    def plant(model: onnx.ModelProto) -> None:
        products = [node for node in model.graph.node if node.op_type == "MatMul" and "weight" not in node.input[1]]
        quantize(model, products[0], 0)

    assert any("MatMul is quantized; only weighted layers may be" in fault for fault in planted(plant))


@pytest.mark.parametrize("place", [0, 1])
def test_a_layer_with_one_quantized_input_is_a_fault(planted: Any, place: int) -> None:
    def plant(model: onnx.ModelProto) -> None:
        node = node_of(model, f"{LAYER}.matmul")
        node.input[place] = node.input[place].removesuffix(".dequantized")

    faults = planted(plant)
    assert f"{LAYER}.matmul: one input is quantized, the other is not" in faults


@pytest.mark.parametrize("axis", [0, -2])
def test_a_weight_s_scale_along_the_wrong_axis_is_a_fault(planted: Any, axis: int) -> None:
    def plant(model: onnx.ModelProto) -> None:
        for node in pair_of(model, WEIGHT):
            (attribute,) = node.attribute
            attribute.i = axis

    (fault,) = planted(plant)
    assert fault == f"{WEIGHT}.quantized: a weight (K, N) has one scale per column, axis 1; found (64,) on axis {axis}"


@pytest.mark.parametrize("shape", [(32,), (63,), (1, 64), (1,), ()])
def test_a_weight_s_scale_of_the_wrong_shape_is_a_fault(planted: Any, shape: tuple[int, ...]) -> None:
    def plant(model: onnx.ModelProto) -> None:  # (K, N) is (32, 64)
        replace_constant(model, f"{WEIGHT}.step", np.full(shape, 0.01, np.float32))
        replace_constant(model, f"{WEIGHT}.zero", np.zeros(shape, np.int8))

    (fault,) = planted(plant)
    assert f"a weight (K, N) has one scale per column, axis 1; found {shape} on axis 1" in fault


def test_an_activation_with_a_scale_a_channel_is_a_fault(planted: Any) -> None:
    def plant(model: onnx.ModelProto) -> None:
        replace_constant(model, f"{activation(model)}.step", np.full(32, 0.01, np.float32))
        replace_constant(model, f"{activation(model)}.zero", np.zeros(32, np.int8))

    (fault,) = planted(plant)
    assert fault.endswith("an activation has one scale, found 32")


@pytest.mark.parametrize(
    "zero", [np.uint8(0), np.int8(1), np.int8(-128), np.uint8(128), np.int32(0), np.zeros(1, np.int8)], ids=repr
)
def test_a_zero_point_other_than_an_int8_zero_is_a_fault(planted: Any, zero: Any) -> None:
    def plant(model: onnx.ModelProto) -> None:
        replace_constant(model, f"{activation(model)}.zero", np.asarray(zero))

    (fault,) = planted(plant)
    assert "the zero point must be INT8 or FLOAT8E4M3FN zeros in the shape" in fault


def test_one_zero_point_of_a_weight_that_is_not_0_is_a_fault(planted: Any) -> None:
    def plant(model: onnx.ModelProto) -> None:
        zeros = np.zeros(64, np.int8)
        zeros[63] = 1
        replace_constant(model, f"{WEIGHT}.zero", zeros)

    (fault,) = planted(plant)
    assert "the zero point must be INT8" in fault


def test_fp8_zero_points_are_no_fault(planted: Any) -> None:
    def plant(model: onnx.ModelProto) -> None:
        for name in (activation(model), WEIGHT):
            zero = next(tensor for tensor in model.graph.initializer if tensor.name == f"{name}.zero")
            zeros = np.zeros(int(np.prod(zero.dims)))
            zero.CopyFrom(onnx.helper.make_tensor(zero.name, onnx.TensorProto.FLOAT8E4M3FN, zero.dims, zeros))

    assert planted(plant) == []


@pytest.mark.parametrize("scale", [0.0, -0.1, np.nan, np.inf])
def test_a_scale_that_is_not_above_0_is_a_fault(planted: Any, scale: float) -> None:
    def plant(model: onnx.ModelProto) -> None:
        replace_constant(model, f"{activation(model)}.step", np.array(scale, np.float32))

    (fault,) = planted(plant)
    assert fault.endswith("every scale must be above 0")


@pytest.mark.parametrize("scale", [0.0, np.nan])
def test_one_scale_of_a_weight_that_is_not_above_0_is_a_fault(planted: Any, scale: float) -> None:
    def plant(model: onnx.ModelProto) -> None:
        replace_constant(model, f"{WEIGHT}.step", np.append(np.full(63, 0.01), scale).astype(np.float32))

    (fault,) = planted(plant)
    assert fault.endswith("every scale must be above 0")


@pytest.mark.parametrize("place", [1, 2])
def test_a_dequantize_with_another_scale_or_zero_point_than_its_quantize_is_a_fault(planted: Any, place: int) -> None:
    def plant(model: onnx.ModelProto) -> None:
        _, dequantize = pair_of(model, activation(model))
        dequantize.input[place] = pair_of(model, "patches")[1].input[place]

    (fault,) = planted(plant)
    assert fault.endswith("its DequantizeLinear has another scale, zero point or axis")


def test_a_dequantize_along_another_axis_than_its_quantize_is_a_fault(planted: Any) -> None:
    def plant(model: onnx.ModelProto) -> None:
        pair_of(model, WEIGHT)[1].attribute[0].i = 0

    (fault,) = planted(plant)
    assert fault.endswith("its DequantizeLinear has another scale, zero point or axis")


def test_a_computed_scale_is_a_fault(planted: Any) -> None:
    def plant(model: onnx.ModelProto) -> None:
        for node in pair_of(model, activation(model)):
            node.input[1] = "confidence"

    (fault,) = planted(plant)
    assert fault.endswith("scale and zero point must be constants")


def test_a_quantize_that_feeds_two_operators_is_a_fault(planted: Any) -> None:
    def plant(model: onnx.ModelProto) -> None:
        quantize_node, dequantize = pair_of(model, activation(model))
        model.graph.node.append(helper.make_node("DequantizeLinear", dequantize.input, ["planted"], "planted"))
        assert quantize_node.output[0] == dequantize.input[0]

    (fault,) = planted(plant)
    assert fault.endswith("a QuantizeLinear must be followed by one DequantizeLinear and nothing else")


def test_a_quantize_that_nothing_dequantizes_is_a_fault(planted: Any) -> None:
    def plant(model: onnx.ModelProto) -> None:
        quantize_node, _ = pair_of(model, activation(model))
        node_of(model, f"{activation(model)}.dequantized").op_type = "Cast"
        assert quantize_node.op_type == "QuantizeLinear"

    assert any("must be followed by one DequantizeLinear" in fault for fault in planted(plant))


def store_in_eight_bits(model: onnx.ModelProto) -> onnx.NodeProto:
    """Lets the DequantizeLinear of a weight read a constant; gives it back."""
    quantize_node, dequantize = pair_of(model, WEIGHT)
    model.graph.node.remove(quantize_node)
    model.graph.initializer.append(numpy_helper.from_array(np.ones((32, 64), np.int8), dequantize.input[0]))
    return dequantize


def test_a_dequantize_of_an_integer_constant_is_no_fault(planted: Any) -> None:
    assert planted(store_in_eight_bits) == []


def test_a_dequantize_of_an_integer_constant_along_its_rows_is_a_fault(planted: Any) -> None:
    def plant(model: onnx.ModelProto) -> None:
        store_in_eight_bits(model).attribute[0].i = 0

    (fault,) = planted(plant)
    assert "axis" in fault


def test_a_dequantize_of_what_another_operator_computes_is_a_fault(planted: Any) -> None:
    def plant(model: onnx.ModelProto) -> None:
        node_of(model, f"{activation(model)}.quantized").op_type = "Cast"

    (fault,) = planted(plant)
    assert "a DequantizeLinear must follow a QuantizeLinear" in fault
