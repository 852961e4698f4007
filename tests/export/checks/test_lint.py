"""The lint passes our graphs and catches each thing that some TensorRT refuses."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sacvit.bundle.errors import GuardError
from sacvit.export.checks.lint import lint_graph, require_clean
from sacvit.export.pair_graphs import build_pair
from sacvit.model.checkpoint import load_checkpoint


@pytest.fixture(scope="module")
def ee(tiny_checkpoint):
    return build_pair(load_checkpoint(tiny_checkpoint), None)[0]


@pytest.fixture
def copy(ee):
    model = onnx.ModelProto()
    model.CopyFrom(ee)
    return model


def test_both_graphs_are_clean(tiny_checkpoint):
    for model in build_pair(load_checkpoint(tiny_checkpoint), 1):
        assert lint_graph(model) == []


@pytest.mark.parametrize("kind", ["Gelu", "Attention", "NonZero", "ScatterND", "If", "Loop", "Einsum", "Resize"])
def test_an_operator_outside_the_list_is_named(copy, kind):
    copy.graph.node[5].op_type = kind
    assert any(f"ai.onnx.{kind} is not in the portable list" in fault for fault in lint_graph(copy))


def test_an_operator_of_another_domain_is_named(copy):
    copy.graph.node[5].domain = "com.microsoft"
    assert any("com.microsoft" in fault for fault in lint_graph(copy))


def test_another_opset_is_refused(copy):
    copy.opset_import[0].version = 18
    assert any("opset must be ai.onnx 17" in fault for fault in lint_graph(copy))


@pytest.mark.parametrize("kind", [TensorProto.INT64, TensorProto.DOUBLE, TensorProto.FLOAT16])
def test_another_type_at_the_boundary_is_refused(copy, kind):
    copy.graph.output[0].type.tensor_type.elem_type = kind
    assert any("logits is" in fault and "at the boundary" in fault for fault in lint_graph(copy))


def test_top_k_with_a_computed_k_is_refused(copy):
    node = next(node for node in copy.graph.node if node.op_type == "TopK")
    node.input[1] = copy.graph.node[0].output[0]
    assert any("TopK needs a constant K" in fault for fault in lint_graph(copy))


def test_int64_indices_are_refused(copy):
    cast = next(node for node in copy.graph.node if node.name == "select.order.int32")
    cast.op_type = "Transpose"
    assert any("reads TopK's int64 indices" in fault for fault in lint_graph(copy))


def test_int64_data_is_refused(copy):
    constant = next(tensor for tensor in copy.graph.initializer if tensor.name == "halve.row.low.index")
    constant.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(constant).astype(np.int64), constant.name))
    assert any("int64 constant halve.row.low.index as data" in fault for fault in lint_graph(copy))


def test_a_computed_shape_is_refused(copy):
    node = next(node for node in copy.graph.node if node.op_type == "Reshape")
    node.input[1] = copy.graph.node[0].output[0]
    assert any("must be a constant" in fault for fault in lint_graph(copy))


def test_a_cast_to_another_type_is_refused(copy):
    copy.graph.node.append(helper.make_node("Cast", ["logits"], ["x"], "x", to=TensorProto.DOUBLE))
    assert any("cast to DOUBLE" in fault for fault in lint_graph(copy))


def test_the_guard_names_file_and_faults(copy):
    copy.graph.node[5].op_type = "Gelu"
    with pytest.raises(GuardError, match=r"ee\.onnx is not portable: .*Gelu"):
        require_clean("ee.onnx", copy)


@pytest.mark.parametrize("precision", ["fp32", "int8", "fp16", "int8fp16"])
@pytest.mark.parametrize("stage", ["EE", "SAC"])
def test_graphs_of_every_precision_are_clean(graphs, stage, precision):
    assert lint_graph(graphs[stage, precision], precision) == []


def test_int8_where_none_belongs_is_named(graphs):
    faults = lint_graph(graphs["EE", "int8"], "fp32")
    assert any("ai.onnx.QuantizeLinear is not in the portable list" in fault for fault in faults)
    assert any("is INT8, which fp32 does not use" in fault for fault in faults)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_fp16_where_none_belongs_is_named(graphs, precision):
    faults = lint_graph(graphs["EE", "fp16"], precision)
    assert any(f"cast to FLOAT16, which {precision} does not use" in fault for fault in faults)
    assert any(f"is FLOAT16, which {precision} does not use" in fault for fault in faults)


def test_fp16_scales_below_their_opset_are_named(graphs):
    graphs["EE", "int8fp16"].opset_import[0].version = 17
    assert any(
        "opset must be ai.onnx 19, found {'ai.onnx': 17}" in x for x in lint_graph(graphs["EE", "int8fp16"], "int8fp16")
    )


@pytest.mark.parametrize("precision", ["fp32", "int8", "fp16"])
def test_the_opset_of_fp16_scales_is_for_them_alone(graphs, precision):
    graphs["EE", precision].opset_import[0].version = 19
    assert any("opset must be ai.onnx 17" in fault for fault in lint_graph(graphs["EE", precision], precision))


def test_an_fp16_boundary_is_refused_in_every_precision(graphs):
    graphs["EE", "fp16"].graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    assert any("logits is FLOAT16 at the boundary" in fault for fault in lint_graph(graphs["EE", "fp16"], "fp16"))


@pytest.mark.parametrize("name", ["blocks.1.after_attn", "blocks.1.norm2", "blocks.1.mlp.gelu.erf", "head.matmul"])
def test_a_quantized_operator_that_is_no_weighted_layer_is_named(graphs, name):
    node = next(node for node in graphs["EE", "int8"].graph.node if node.name == name)
    node.input[0] = "blocks.0.norm1.dequantized"
    assert any(f"{name}: {node.op_type} is quantized" in fault for fault in lint_graph(graphs["EE", "int8"], "int8"))
