"""FP16 graphs: what is retyped, what stays FP32, and what a person is told of it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from sacvit.bundle.errors import EngineError
from sacvit.bundle.stage_record import HAND_OFF
from sacvit.calibration.onnx_session import Pair
from sacvit.export.precision.request import FP16_LIMIT as LIMIT
from sacvit.export.precision.retype import group_of, retype
from sacvit.export.precision.rounding import rounded_as_typed
from sacvit.runtime.engines.onnx import OnnxStage

BF16, FP16, FP32 = TensorProto.BFLOAT16, TensorProto.FLOAT16, TensorProto.FLOAT
RETYPED = ("fp16", "int8fp16", "fp8")
STAGES = ("EE", "SAC")
each_graph = pytest.mark.parametrize(("stage", "kind"), [(stage, kind) for stage in STAGES for kind in RETYPED])


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    """The type of every tensor that an operator writes."""
    typed = onnx.shape_inference.infer_shapes(model, strict_mode=True, check_type=True).graph
    return {value.name: value.type.tensor_type.elem_type for value in (*typed.value_info, *typed.output)}


def types_by_node(model: onnx.ModelProto) -> dict[str, int]:
    """The type of every operator's first output, by the operator's name."""
    types = types_of(model)
    return {node.name: types[node.output[0]] for node in model.graph.node}


def boundary(model: onnx.ModelProto) -> list[tuple[str, int, str]]:
    return [
        (value.name, value.type.tensor_type.elem_type, str(value.type.tensor_type.shape))
        for value in (*model.graph.input, *model.graph.output)
    ]


def held_in_fp32(before: onnx.ModelProto, after: onnx.ModelProto) -> set[str]:
    """Operators that write FP16 in one graph and FP32 in the other."""
    first, second = types_by_node(before), types_by_node(after)
    return {name for name in first.keys() & second.keys() if (first[name], second[name]) == (FP16, FP32)}


@each_graph
def test_inputs_and_outputs_keep_their_names_types_and_shapes(graphs, stage, kind):
    assert boundary(graphs[stage, kind]) == boundary(graphs[stage, "fp32"])


@each_graph
def test_the_full_checker_passes(graphs, stage, kind):
    onnx.checker.check_model(graphs[stage, kind], full_check=True)


@each_graph
def test_norms_and_softmaxes_are_fp32(graphs, stage, kind):
    types = types_of(graphs[stage, kind])
    islands = [node for node in graphs[stage, kind].graph.node if node.op_type in ("LayerNormalization", "Softmax")]
    assert islands and {types[node.output[0]] for node in islands} == {FP32}


@each_graph
def test_an_islands_inputs_are_fp32_too(graphs, stage, kind):
    types = types_of(graphs[stage, kind])
    islands = [node for node in graphs[stage, kind].graph.node if node.op_type in ("LayerNormalization", "Softmax")]
    assert {types[name] for node in islands for name in node.input if name in types} == {FP32}


@pytest.mark.parametrize("kind", RETYPED)
def test_what_decides_is_fp32(graphs, kind):
    names = ("halve.centred", "class_attention.softmax", "class_attention.sum", "head.sum", "head", "confidence")
    types = types_by_node(graphs["EE", kind])
    assert {name: types[name] for name in names} == dict.fromkeys(names, FP32)


@each_graph
def test_the_body_is_fp16(graphs, stage, kind):
    body = {
        name: found
        for name, found in types_by_node(graphs[stage, kind]).items()
        if name.startswith("blocks.")
        and name.endswith((".matmul", ".scores", ".mixed", ".gelu", ".after_attn", ".q.heads"))
    }
    assert len(body) == 5 * 9 and set(body.values()) == {FP16}


def test_fp16_alone_keeps_the_opset(graphs):
    for stage in STAGES:
        model = graphs[stage, "fp16"]
        assert (model.opset_import[0].version, model.ir_version) == (17, graphs[stage, "fp32"].ir_version)


def test_fp16_scales_raise_the_opset_to_19(graphs):
    for stage in STAGES:
        assert (graphs[stage, "int8fp16"].opset_import[0].version, graphs[stage, "int8fp16"].ir_version) == (19, 9)


@pytest.mark.parametrize("stage", STAGES)
def test_every_scale_is_fp16(graphs, stage):
    model = graphs[stage, "int8fp16"]
    constants = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    scales = {constants[node.input[1]] for node in model.graph.node if node.op_type.endswith("QuantizeLinear")}
    assert scales == {FP16}


def test_fp16_scales_lose_nothing(graphs):
    steps = [
        {tensor.name.removesuffix(".fp16"): numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        for model in (graphs["EE", "int8"], graphs["EE", "int8fp16"])
    ]
    names = [name for name in steps[1] if name.endswith(".step")]  # the second has no INT8 in attention
    assert names and all((steps[0][name] == steps[1][name].astype(np.float32)).all() for name in names)


def test_the_axes_of_reduce_max_become_an_input(graphs):
    node = next(node for node in graphs["EE", "int8fp16"].graph.node if node.op_type == "ReduceMax")
    constants = {tensor.name: tensor for tensor in graphs["EE", "int8fp16"].graph.initializer}
    assert numpy_helper.to_array(constants[node.input[1]]).tolist() == [-1]
    assert [attribute.name for attribute in node.attribute] == ["keepdims"]


def test_an_operator_that_writes_a_large_tensor_stays_in_fp32(graphs, seen):
    name = "blocks.1.mlp.fc2.matmul"
    retyped, _ = retype(graphs["EE", "fp32"], seen["EE"].largest | {name: LIMIT * 2})
    assert types_by_node(retyped)[name] == FP32


def test_an_operator_that_reads_a_large_tensor_stays_in_fp32(graphs, seen):
    retyped, _ = retype(graphs["EE", "fp32"], seen["EE"].largest | {"blocks.1.mlp.fc2.matmul": LIMIT * 2})
    assert types_by_node(retyped)["blocks.1.mlp.fc2"] == FP32  # the add of the bias


def test_all_others_are_fp16_beside_a_large_tensor(graphs, seen):
    name = "blocks.1.mlp.fc2.matmul"
    retyped, _ = retype(graphs["EE", "fp32"], seen["EE"].largest | {name: LIMIT * 2})
    assert held_in_fp32(graphs["EE", "fp16"], retyped) == {name, "blocks.1.mlp.fc2"}


def test_a_large_tensors_operators_are_named_with_its_size(graphs, seen):
    _, report = retype(graphs["EE", "fp32"], seen["EE"].largest | {"blocks.1.mlp.fc2.matmul": 1000.0})
    assert report.kept == {"blocks.1.mlp.fc2.matmul": 1000.0, "blocks.1.mlp.fc2": 1000.0}


def test_a_tensor_of_the_limit_itself_is_fp16(graphs, seen):
    _, report = retype(graphs["EE", "fp32"], seen["EE"].largest | {"blocks.1.mlp.fc2.matmul": LIMIT})
    assert report.kept == {}


def test_a_lower_limit_keeps_more(graphs, seen):
    _, report = retype(graphs["EE", "fp32"], seen["EE"].largest, limit=2.0)
    assert any(name.startswith("blocks.") for name in report.kept)


def test_a_large_output_of_an_int8_layer_keeps_it_in_fp32(graphs, seen):
    name = "blocks.1.mlp.fc2.matmul"
    retyped, report = retype(graphs["EE", "int8"], seen["EE"].largest | {name: LIMIT * 2})
    assert types_by_node(retyped)[name] == FP32 and name in report.kept


def test_a_large_input_of_an_int8_layer_keeps_it_in_fp32(graphs, seen):
    name = "blocks.1.mlp.gelu"
    retyped, report = retype(graphs["EE", "int8"], seen["EE"].largest | {name: 1e5})
    assert types_by_node(retyped)["blocks.1.mlp.fc2.matmul"] == FP32 and "blocks.1.mlp.fc2.matmul" in report.kept


def test_a_large_tensor_is_never_moved_into_fp16(graphs, seen):
    """SAC's embedding joins two tensors; where one is beyond FP16, their joint must not be FP16 either."""
    retyped, _ = retype(graphs["SAC", "fp32"], seen["SAC"].largest | {"targets": 1e5})
    assert types_by_node(retyped)["embedding"] == FP32


def test_a_weight_beyond_fp16_keeps_its_operator_in_fp32(graphs, change_constant):
    change_constant(graphs["EE", "fp32"], "blocks.2.mlp.fc1.weight", plant(1e5))
    retyped, _ = retype(graphs["EE", "fp32"], {})
    assert held_in_fp32(graphs["EE", "fp16"], retyped) == {"blocks.2.mlp.fc1.matmul"}


def test_weights_beyond_fp16_are_counted_and_their_operator_named(graphs, change_constant):
    change_constant(graphs["EE", "fp32"], "blocks.2.mlp.fc1.weight", plant(1e5, -2e5, 65504.0))
    _, report = retype(graphs["EE", "fp32"], {})
    assert report.overflowing_weights == 2
    assert report.kept == {"blocks.2.mlp.fc1.matmul": pytest.approx(2e5)}


def test_a_weight_beyond_fp16_keeps_an_int8_layer_in_fp32(graphs, change_constant):
    change_constant(graphs["EE", "int8"], "blocks.2.mlp.fc1.weight", plant(1e5))
    retyped, report = retype(graphs["EE", "int8"], {})
    assert types_by_node(retyped)["blocks.2.mlp.fc1.matmul"] == FP32
    assert report.overflowing_weights == 1


def test_weights_below_fp16s_normal_range_are_counted(graphs, change_constant):
    _, before = retype(graphs["EE", "fp32"], {})
    change_constant(graphs["EE", "fp32"], "blocks.2.mlp.fc1.weight", plant(1e-5, -6e-5, 2.0**-14, 0.0))
    _, after = retype(graphs["EE", "fp32"], {})
    assert after.subnormal_weights == before.subnormal_weights + 2  # 2^-14 is normal, and 0 is exact


def test_the_mask_between_the_clusters_is_no_outlier(graphs, seen):
    assert seen["SAC"].largest["blocks.0.attn.masked"] > 1000  # by design: -1e4
    _, report = retype(graphs["SAC", "fp32"], seen["SAC"].largest)
    assert report.kept == {}


def test_a_level_is_a_group_and_the_embedding_of_pixels_another():
    assert group_of("patch_embed.levels.0.blocks.1.attn.scores") == "patch_embed.levels.0"
    assert group_of("patch_embed.matmul") == "patch_embed"
    assert group_of("select.order") is None


def test_only_retypes_the_operators_of_that_name(graphs, seen):
    retyped, _ = retype(graphs["EE", "fp32"], seen["EE"].largest, only="blocks.1")
    computing = {
        node.name: types_of(retyped)[node.output[0]]
        for node in retyped.graph.node
        if node.op_type in ("MatMul", "Add", "Mul", "Erf")
    }
    assert {name for name, found in computing.items() if found == FP16} == {
        name for name in computing if name.startswith("blocks.1.")
    }


def test_the_graph_that_is_retyped_stays_as_it_was(graphs, kept_graphs):
    retype(graphs["EE", "int8"], {})
    assert graphs["EE", "int8"] == kept_graphs["EE", "int8"]


@pytest.mark.parametrize("stage", STAGES)
def test_bf16_stands_where_fp16_would_and_what_stays_in_fp32_stays(graphs, stage):
    half, short = types_by_node(graphs[stage, "fp16"]), types_by_node(graphs[stage, "bf16"])
    named = {name.replace(".fp16", ".bf16"): kind for name, kind in half.items()}
    assert {name: BF16 if kind == FP16 else kind for name, kind in named.items()} == short


def test_nothing_is_too_large_for_bf16(graphs):
    largest = dict.fromkeys((node.output[0] for node in graphs["EE", "fp32"].graph.node), 1e6)
    assert retype(graphs["EE", "fp32"], largest)[1].kept
    assert retype(graphs["EE", "fp32"], largest, body="bf16")[1].kept == {}


def test_a_graphs_record_survives(tiny_bundle):
    model = onnx.load(tiny_bundle / "ee.onnx")
    assert list(retype(model, {})[0].metadata_props) == list(model.metadata_props)


@pytest.mark.parametrize("kind", RETYPED)
def test_the_retyped_pair_gives_its_sources_logits(graphs, images, kind):
    source = "int8" if kind == "int8fp16" else "fp32"
    exact = Pair(graphs["EE", source], graphs["SAC", source])
    half = Pair(*(rounded_as_typed(graphs[stage, kind]) for stage in STAGES))
    handed = exact.run_ee(images[:8])
    # Rounding to FP16 moves an activation to the next INT8 step here and there; FP8 has three bits of mantissa.
    limit = {"fp16": 1e-2, "int8fp16": 5e-2, "fp8": 0.25}[kind]
    assert np.abs(half.run_ee(images[:8])["logits"] - handed["logits"]).mean() < limit
    assert np.abs(half.run_sac(images[:8], handed) - exact.run_sac(images[:8], handed)).mean() < limit


@pytest.mark.parametrize("kind", RETYPED[:2])
def test_onnx_runtime_hands_over_in_the_same_types(graphs, images, kind):
    handed = Pair(graphs["EE", kind]).run_ee(images[:2])
    assert [handed[name].dtype for name in HAND_OFF] == [np.int32, np.float32, np.float32]


def test_a_device_retypes_without_torch(tiny_bundle):
    code = (
        "import sys; sys.modules['torch'] = None\nimport onnx\nfrom sacvit.export.precision.retype import retype\n"
        f"print(retype(onnx.load({str(tiny_bundle / 'ee.onnx')!r}), {{}})[0].opset_import[0].version)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("17\n", "")


def plant(*values: float):
    """A change of a matrix: its first entries become these."""

    def change(matrix: np.ndarray) -> np.ndarray:
        matrix.reshape(-1)[: len(values)] = values
        return matrix

    return change


@pytest.mark.parametrize("kind", ["bf16", "fp8"])
def test_a_file_that_onnx_runtime_does_not_run_is_refused_with_the_command_that_builds_it(graphs, tmp_path, kind):
    path = tmp_path / f"ee.{kind}.onnx"
    path.write_bytes(graphs["EE", kind].SerializeToString())
    with pytest.raises(EngineError, match=f"does not run {kind.upper()} files .* sacvit-build"):
        OnnxStage(path, "cpu")
