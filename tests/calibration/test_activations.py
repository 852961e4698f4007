"""What an observation sees: every float tensor's largest magnitude, histograms where asked, and no NaN goes by."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sacvit.bundle.errors import GuardError
from sacvit.calibration.activations import float_tensors, observe
from sacvit.calibration.onnx_session import Session
from sacvit.calibration.qdq_placement import weighted_layers
from sacvit.calibration.ranges import BINS

WEIGHT = np.array([[1, -2, 0.5], [3, 0.25, -1]], np.float32)


def small_graph(weight: np.ndarray = WEIGHT) -> onnx.ModelProto:
    """x (N, 2) -> product (N, 3) -> transposed (3, N), root (N, 3), and the integers best (N,) and next (N,)."""
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["product"], "product"),
        helper.make_node("Transpose", ["product"], ["transposed"], "transposed"),
        helper.make_node("Sqrt", ["product"], ["root"], "root"),
        helper.make_node("ArgMax", ["product"], ["best"], "best", axis=1, keepdims=0),
        helper.make_node("Add", ["best", "one"], ["next"], "next"),
    ]
    constants = [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(np.int64(1), "one")]
    outputs = [
        helper.make_tensor_value_info("root", TensorProto.FLOAT, ["N", 3]),
        helper.make_tensor_value_info("next", TensorProto.INT64, ["N"]),
        helper.make_tensor_value_info("transposed", TensorProto.FLOAT, [3, "N"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])]
    graph = helper.make_graph(nodes, "small", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


POSITIVE = np.abs(WEIGHT)  # with which no root is NaN


@pytest.fixture
def inputs() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 1, (20, 2)).astype(np.float32)


def pieces(inputs: np.ndarray, *sizes: int) -> Iterator[tuple[int, dict[str, Any]]]:
    start = 0
    for size in sizes:
        yield size, {"x": inputs[start : start + size]}
        start += size


def test_the_largest_magnitudes_are_numpy_s(inputs: np.ndarray) -> None:
    seen = observe("a.onnx", small_graph(POSITIVE), [], pieces(inputs, 20))
    product = inputs @ POSITIVE
    expected = {"product": product.max(), "root": np.sqrt(product).max()}
    assert seen.largest == pytest.approx(expected, rel=1e-6)


def test_a_later_piece_of_smaller_numbers_does_not_make_the_largest_smaller(inputs: np.ndarray) -> None:
    descending = inputs[np.argsort(-inputs.sum(1))]
    whole = observe("a.onnx", small_graph(POSITIVE), [], pieces(descending, 20))
    apart = observe("a.onnx", small_graph(POSITIVE), [], pieces(descending, 10, 10))
    assert apart.largest == pytest.approx(whole.largest, rel=1e-6)


def test_a_negative_number_is_large_by_its_magnitude(inputs: np.ndarray) -> None:
    model = small_graph(-10 * POSITIVE)
    del model.graph.node[2], model.graph.output[0]  # no root of a negative number
    seen = observe("a.onnx", model, [], pieces(inputs, 20))
    assert seen.largest["product"] == pytest.approx((10 * inputs @ POSITIVE).max(), rel=1e-6)


def test_integer_tensors_are_not_looked_at(inputs: np.ndarray) -> None:
    seen = observe("a.onnx", small_graph(POSITIVE), [], pieces(inputs, 20))
    assert not {"best", "next"} & set(seen.largest)


def test_a_tensor_that_was_only_moved_is_not_looked_at(inputs: np.ndarray) -> None:
    seen = observe("a.onnx", small_graph(POSITIVE), [], pieces(inputs, 20))
    assert "transposed" not in seen.largest


def test_a_tensor_that_was_only_moved_is_looked_at_where_a_layer_reads_it(inputs: np.ndarray) -> None:
    seen = observe("a.onnx", small_graph(POSITIVE), ["transposed"], pieces(inputs, 20))
    assert seen.largest["transposed"] == seen.largest["product"]


def test_histograms_are_made_of_the_tensors_asked_for_only(inputs: np.ndarray) -> None:
    seen = observe("a.onnx", small_graph(POSITIVE), ["root"], pieces(inputs, 20))
    assert set(seen.histograms) == {"root"}


def test_a_tensor_asked_for_twice_is_counted_once(inputs: np.ndarray) -> None:
    seen = observe("a.onnx", small_graph(POSITIVE), ["root", "root"], pieces(inputs, 20))
    assert seen.histograms["root"].counts.sum() == 20 * 3


def test_a_histogram_is_of_every_value(inputs: np.ndarray) -> None:
    seen = observe("a.onnx", small_graph(POSITIVE), ["product"], pieces(inputs, 7, 13))
    made = seen.histograms["product"]
    values = np.sort((inputs @ POSITIVE).ravel())
    held = np.repeat((np.arange(BINS) + 0.5) * made.top / BINS, made.counts)
    np.testing.assert_allclose(held, values, atol=0.51 * made.top / BINS)  # the middle of each value's bin


def test_pieces_show_what_the_whole_shows(inputs: np.ndarray) -> None:
    whole = observe("a.onnx", small_graph(POSITIVE), ["product"], pieces(inputs, 20))
    apart = observe("a.onnx", small_graph(POSITIVE), ["product"], pieces(inputs, 1, 12, 7))
    assert apart.images == whole.images == 20
    assert apart.largest == pytest.approx(whole.largest, rel=1e-6)  # a product's sums depend on its shape
    made, theirs = apart.histograms["product"], whole.histograms["product"]
    assert (made.largest, made.counts.sum()) == (pytest.approx(theirs.largest, rel=1e-6), theirs.counts.sum())


def test_the_images_are_counted_as_the_feed_says(inputs: np.ndarray) -> None:
    feed = [(3, {"x": inputs[:4]})]  # a fixed graph's last pass: four rows for three images
    assert observe("a.onnx", small_graph(POSITIVE), [], feed).images == 3


def test_no_images_show_nothing() -> None:
    seen = observe("a.onnx", small_graph(POSITIVE), ["root"], [])
    assert (seen.images, seen.largest) == (0, {"root": 0.0, "product": 0.0})


def test_the_graph_is_not_changed(inputs: np.ndarray) -> None:
    model = small_graph(POSITIVE)
    before = model.SerializeToString(deterministic=True)
    observe("a.onnx", model, ["root"], pieces(inputs, 20))
    assert model.SerializeToString(deterministic=True) == before


# NaN and infinity


def test_nan_in_one_image_is_refused_with_graph_tensor_and_images(inputs: np.ndarray) -> None:
    inputs[13] = -1  # its root is NaN
    message = "ee.onnx: root becomes NaN on image 12 to 15 of the calibration set, already in FP32"
    with pytest.raises(GuardError, match=re.escape(message)):
        observe("ee.onnx", small_graph(POSITIVE), [], pieces(inputs, 4, 4, 4, 4, 4))


@pytest.mark.parametrize("size", [3e38, -3e38])
def test_an_overflow_is_refused_as_infinite(inputs: np.ndarray, size: float) -> None:
    weight = np.full((2, 3), size, np.float32)
    with pytest.raises(GuardError, match=r"a\.onnx: product becomes infinite on image 0 to 1 of"):
        observe("a.onnx", small_graph(weight), [], pieces(np.full((2, 2), 2, np.float32), 2))


def test_nan_beside_infinity_is_refused_as_nan(inputs: np.ndarray) -> None:
    inputs[0] = (np.inf, 0)
    inputs[1] = np.nan
    with pytest.raises(GuardError, match="product becomes NaN"):
        observe("a.onnx", small_graph(POSITIVE), [], pieces(inputs, 20))


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "(NaN|infinite)")])
def test_a_weight_of_the_network_that_is_no_number_is_refused_at_its_layer(
    graphs: tuple[onnx.ModelProto, onnx.ModelProto], images: np.ndarray, value: float, word: str
) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(graphs[0])
    (tensor,) = [tensor for tensor in model.graph.initializer if tensor.name == "blocks.2.mlp.fc1.weight"]
    weight = numpy_helper.to_array(tensor).copy()
    weight[3, 5] = value
    tensor.CopyFrom(numpy_helper.from_array(weight, tensor.name))
    with pytest.raises(
        GuardError, match=rf"ee\.onnx: blocks\.2\.mlp\.\S+ becomes {word} on image 0 to 1 .* the training"
    ):
        observe("ee.onnx", model, [], [(2, {"image": images[:2]})])


# The network's tensors


def test_the_float_tensors_are_those_that_onnx_runtime_calls_float(
    graphs: tuple[onnx.ModelProto, onnx.ModelProto],
) -> None:
    floats = float_tensors(graphs[0])
    probe = onnx.ModelProto()
    probe.CopyFrom(graphs[0])
    del probe.graph.output[:]
    computed = [name for node in probe.graph.node for name in node.output if name]
    probe.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in computed)
    theirs = {value.name for value in Session(probe).session.get_outputs() if value.type == "tensor(float)"}
    assert floats & set(computed) == theirs


@pytest.mark.parametrize("stage", [0, 1], ids=["EE", "SAC"])
def test_every_layer_s_activation_is_seen(
    graphs: tuple[onnx.ModelProto, onnx.ModelProto], stage_inputs: tuple[Any, Any], stage: int
) -> None:
    activations = {layer.activation for layer in weighted_layers(graphs[stage])}
    seen = observe("a.onnx", graphs[stage], activations, [(8, stage_inputs[stage])])
    assert {name for name, histogram in seen.histograms.items() if histogram.largest > 0} == activations
