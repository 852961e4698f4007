"""The written graphs against the public code's outputs, and against the contract of their inputs and outputs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from sacvit.bundle.preprocess import Preprocessing
from sacvit.bundle.stage_record import HAND_OFF
from sacvit.calibration.onnx_session import Pair, Session
from sacvit.export.checks.lint import lint_graph
from sacvit.export.checks.parity import check_images
from sacvit.export.graphs.patches import line_pairs, patch_projection, patch_strips
from sacvit.export.graphs.selection import window_members
from sacvit.export.graphs.stages import build_plain
from sacvit.export.pair_graphs import build_graphs, build_pair
from sacvit.model.checkpoint import load_checkpoint
from sacvit.model.config import ModelConfig, preset
from sacvit.model.network import PlainViT, TwoStageViT

LIMIT = 1e-4  # the issue's; FP32 sums in another order differ by 1e-5


def run_pair(checkpoint, images, rows, batch=None):
    ee, sac = build_pair(checkpoint, batch)
    outputs = Session(ee).run({"image": images})
    inputs = {"image": images, "row": np.array(rows, np.int32), **{name: outputs[name] for name in HAND_OFF}}
    return outputs, Session(sac).run(inputs)["logits"]


def fine_tokens(index: np.ndarray, grid: int) -> set[int]:
    """The fine tokens (row-major on 2G x 2G) of coarse blocks."""
    rows, columns = 2 * (index // grid), 2 * (index % grid)
    return {int((r + i) * 2 * grid + c + j) for r, c in zip(rows, columns, strict=True) for i in (0, 1) for j in (0, 1)}


def test_graphs_give_the_public_codes_logits_and_target_sets(golden):
    checkpoint = load_checkpoint(golden.checkpoint, **golden.options)
    outputs, logits = run_pair(checkpoint, golden.image_u8, range(6))
    assert np.abs(outputs["logits"] - golden.coarse_logits).max() < LIMIT
    assert np.abs(logits - golden.fine_logits).max() < LIMIT
    for found, expected in zip(outputs["target_index"], golden.fine_index, strict=True):
        assert fine_tokens(found, checkpoint.config.grid) == set(expected.tolist())


def test_row_picks_the_survivors_in_its_own_order(golden):
    checkpoint = load_checkpoint(golden.checkpoint, **golden.options)
    _, logits = run_pair(checkpoint, golden.image_u8, [4, 1])
    assert np.abs(logits - golden.fine_logits[[4, 1]]).max() < LIMIT


def test_a_fixed_batch_gives_what_a_symbolic_one_gives(golden):
    checkpoint = load_checkpoint(golden.checkpoint, **golden.options)
    _, logits = run_pair(checkpoint, golden.image_u8[:2], [0, 1], batch=2)
    assert np.abs(logits - golden.fine_logits[:2]).max() < LIMIT


@pytest.mark.parametrize(
    "changes",
    [
        {"attention": "global"},
        {"downsample": "area"},
        {"selection": "window", "window": 3, "alpha": 0.7},
        {"image_size": 96, "alpha": 0.3},  # 6 x 6 blocks
        {"image_size": 144, "patch_size": 8, "alpha": 0.5},  # 9 x 9 blocks, the geometry of S = 288
        {"heads": 4, "depth": 7},
        {"alpha": 15 / 16},  # one non-target token, the fewest that a buffer can hold
        {"positions": "one"},
        {"reuse": "outputs"},
    ],
    ids=str,
)
def test_every_switch_agrees_with_torch(make_checkpoint, changes):
    import torch

    checkpoint = load_checkpoint(make_checkpoint(seed=3, **changes))
    size = checkpoint.config.image_size
    images = np.random.default_rng(1).integers(0, 256, (3, size, size, 3)).astype(np.uint8)
    outputs, logits = run_pair(checkpoint, images, range(3))
    with torch.no_grad():
        ee = checkpoint.model.ee(torch.from_numpy(images))
        index, context, others = (torch.from_numpy(outputs[name]) for name in HAND_OFF)
        sac = checkpoint.model.sac(torch.from_numpy(images), index.long(), context, others)
    assert np.abs(outputs["logits"] - ee.logits.numpy()).max() < LIMIT
    assert np.abs(logits - sac.numpy()).max() < LIMIT
    assert np.abs(outputs["non_target"] - ee.non_target.numpy()).max() < LIMIT
    assert [set(row) for row in outputs["target_index"].tolist()] == [set(row) for row in ee.target_index.tolist()]


def test_plain_graph_agrees_with_torch():
    import torch

    config = preset("demo")
    torch.manual_seed(0)
    model = PlainViT(config).eval()
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    images = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)
    graph = build_plain(config, weights, Preprocessing(64), None)
    with torch.no_grad():
        expected = model(torch.from_numpy(images)).numpy()
    assert np.abs(Session(graph).run({"image": images})["logits"] - expected).max() < LIMIT
    assert lint_graph(graph) == []


def test_inputs_and_outputs_are_the_contract(tiny_bundle):
    def boundary(values):
        kinds = {onnx.TensorProto.UINT8: "u8", onnx.TensorProto.INT32: "i32", onnx.TensorProto.FLOAT: "f32"}
        return {
            value.name: (
                kinds[value.type.tensor_type.elem_type],
                [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim],
            )
            for value in values
        }

    ee, sac = (onnx.load(tiny_bundle / name).graph for name in ("ee.onnx", "sac.onnx"))
    handed = {
        "target_index": ("i32", ["B", 8]),
        "target_context": ("f32", ["B", 8, 32]),
        "non_target": ("f32", ["B", 8, 32]),
    }
    image = {"image": ("u8", ["B", 64, 64, 3])}
    assert boundary(ee.input) == image
    assert boundary(ee.output) == handed | {
        "logits": ("f32", ["B", 7]),
        "confidence": ("f32", ["B"]),
        "class_attention": ("f32", ["B", 4, 4]),
    }
    assert boundary(sac.input) == image | handed | {"row": ("i32", ["K"])}
    assert boundary(sac.output) == {"logits": ("f32", ["K", 7])}


def test_main_attention_has_one_reader(tiny_checkpoint):
    """A second reader of the softmax would stop TensorRT from fusing attention."""
    ee, _ = build_pair(load_checkpoint(tiny_checkpoint), None)
    for node in ee.graph.node:
        if node.op_type == "Softmax" and ".attn." in node.name:
            assert sum(node.output[0] in other.input for other in ee.graph.node) == 1


def test_equal_attention_is_ordered_by_index():
    from sacvit.export.graphs.builder import GraphBuilder
    from sacvit.export.graphs.selection import HandOff, select

    g = GraphBuilder()
    config = ModelConfig(image_size=64, patch_size=8)
    _, targets, others = select(g, g.input("attention", "float32", ["B", 16]), config, HandOff.of(config))
    g.output(targets, "int32", ["B", 8])
    g.output(others, "int32", ["B", 8])
    found = Session(g.model("select")).run({"attention": np.full((2, 16), 0.5, np.float32)})
    assert found[targets].tolist() == [list(range(8))] * 2
    assert found[others].tolist() == [list(range(8, 16))] * 2


def test_bilinear_lines_are_torchs_align_corners():
    import torch
    import torch.nn.functional as F

    config = ModelConfig(image_size=96, patch_size=16)
    first, share = line_pairs(config)
    line = np.random.default_rng(0).standard_normal(96).astype(np.float32)
    mine = line[first] * (1 - share) + line[first + 1] * share
    theirs = F.interpolate(torch.from_numpy(line)[None, None], 48, mode="linear", align_corners=True)[0, 0]
    assert np.abs(mine - theirs.numpy()).max() < 1e-5  # the last line, where torch clamps


def test_normalisation_is_folded_exactly():
    import torch

    config = preset("demo")
    rule = Preprocessing(64, mean=(0.1, 0.5, 0.7), std=(0.2, 0.3, 0.4))
    model = TwoStageViT(config, rule.mean, rule.std)
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    weight, bias = patch_projection(weights, rule)
    image = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype(np.uint8)
    with torch.no_grad():
        expected = model.patch_embed(model.normalise(torch.from_numpy(image)))[0, 0].numpy()
    centred = (image[0, :8, :8].reshape(-1).astype(np.float32) - 128) / 128
    assert np.abs(weight @ centred + bias - expected).max() < 1e-5


def test_strips_of_a_block_are_its_pixels():
    config = ModelConfig(image_size=64, patch_size=8)
    image = np.arange(64 * 64).reshape(64, 64)
    strips = image.reshape(-1, 8)[patch_strips(config)[5]]  # block (1, 1)
    patches = strips.reshape(4, 8, 8)
    assert (patches[0] == image[16:24, 16:24]).all()
    assert (patches[1] == image[16:24, 24:32]).all()
    assert (patches[2] == image[24:32, 16:24]).all()
    assert (patches[3] == image[24:32, 24:32]).all()


def test_windows_are_squares_in_row_major_order():
    members = window_members(3, 2)
    assert members.reshape(4, 3, 3)[1].tolist() == [[0, 1, 1], [0, 1, 1], [0, 0, 0]]


@pytest.mark.parametrize("stage", ["EE", "SAC"])
def test_both_forms_give_the_same_answers(tiny_checkpoint, stage):
    checkpoint = load_checkpoint(tiny_checkpoint)
    graphs = build_graphs(checkpoint, None)
    images = check_images(checkpoint.config, 3)
    pair = Pair(graphs["cpu"]["EE"])
    inputs = {"image": images} if stage == "EE" else pair.sac_inputs(images, pair.run_ee(images))
    one, other = (Session(graphs[form][stage]).run(inputs) for form in ("cpu", "gpu"))
    for name, values in one.items():
        np.testing.assert_allclose(values, other[name], atol=2e-5, err_msg=name)


def test_the_gpu_form_has_no_fp32_product_in_head_and_class_attention(tiny_checkpoint):
    graphs = build_graphs(load_checkpoint(tiny_checkpoint), None)["gpu"]
    products = {node.name for model in graphs.values() for node in model.graph.node if node.op_type == "MatMul"}
    assert not [name for name in products if name.startswith(("head", "class_attention."))]


def test_the_last_block_computes_what_is_read_and_no_more(tiny_checkpoint):
    checkpoint = load_checkpoint(tiny_checkpoint)
    for stage, rows in (("EE", 1 + checkpoint.config.targets), ("SAC", 1)):
        model = onnx.shape_inference.infer_shapes(build_graphs(checkpoint, 1)["cpu"][stage])
        shapes = {
            value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in model.graph.value_info
        }
        last = f"blocks.{checkpoint.config.depth - 1}.mlp.fc1.matmul"
        assert shapes[last] == [1, rows, checkpoint.config.hidden]
