"""Each check of the export holds for good graphs, and fails when its fault is planted."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from sacvit.bundle.errors import GuardError
from sacvit.export.checks.parity import check_pair, count_swaps, require_held
from sacvit.export.pair_graphs import build_pair
from sacvit.model.checkpoint import load_checkpoint


@pytest.fixture(scope="module", params=["clustered", "global"])
def checkpoint(request, make_checkpoint):
    return load_checkpoint(make_checkpoint(attention=request.param))


@pytest.fixture
def pair(checkpoint):
    return build_pair(checkpoint, None)


def failed(pair, checkpoint) -> set[str]:
    return {check.name for check in check_pair(*pair, checkpoint, None) if not check.holds}


def change_constant(model: onnx.ModelProto, name: str, change) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor).copy()), name))


def test_every_check_holds_for_what_we_build(pair, checkpoint):
    checks = check_pair(*pair, checkpoint, None)
    assert len(checks) == 10
    assert all(check.holds for check in checks), [str(check) for check in checks]


def test_a_wrong_ee_weight_is_caught(pair, checkpoint):
    change_constant(pair[0], "blocks.1.mlp.fc1.weight", lambda w: w * 1.01)
    assert "EE logits, torch against ONNX Runtime" in failed(pair, checkpoint)


def test_a_wrong_sac_weight_is_caught(pair, checkpoint):
    change_constant(pair[1], "reuse_block.1.fc2.weight", lambda w: w * 1.02)
    assert "SAC logits, torch against ONNX Runtime" in failed(pair, checkpoint)


def test_a_wrong_class_attention_is_caught(pair, checkpoint):
    change_constant(pair[0], "class_attention.weights", lambda w: w[:, ::-1] * np.linspace(0, 2, w.size, dtype=w.dtype))
    assert "EE class_attention, torch against ONNX Runtime" in failed(pair, checkpoint)


def test_another_selection_is_caught(pair, checkpoint):
    top_k = next(node for node in pair[0].graph.node if node.op_type == "TopK")
    next(attribute for attribute in top_k.attribute if attribute.name == "largest").i = 0
    assert "EE target blocks that differ" in failed(pair, checkpoint)


def test_wrong_context_tokens_are_caught(pair, checkpoint):
    change_constant(pair[0], "class_token.count", lambda one: one * 0)
    names = failed(pair, checkpoint)
    assert "EE target_context, torch against ONNX Runtime" in names
    assert "EE non_target, torch against ONNX Runtime" in names


def test_a_position_that_stays_behind_is_caught(pair, checkpoint):
    """Positions by slot instead of by block: shuffled targets then get another position."""
    gather = next(node for node in pair[1].graph.node if node.name == "position")
    slots = numpy_helper.from_array(np.arange(checkpoint.config.targets, dtype=np.int32)[None], "slots")
    pair[1].graph.initializer.append(slots)
    gather.input[1] = "slots"
    assert "SAC logits, targets shuffled" in failed(pair, checkpoint)


def test_a_leak_between_rows_is_caught(pair, checkpoint):
    """Strips of the first image for everyone: what lies in an unnamed row then matters."""
    change_constant(pair[1], "strip.per_image", lambda size: size * 0)
    assert "SAC logits, garbage in unnamed rows" in failed(pair, checkpoint)


def test_a_leak_between_the_clusters_is_caught(make_checkpoint):
    checkpoint = load_checkpoint(make_checkpoint(attention="clustered"))
    pair = build_pair(checkpoint, None)
    change_constant(pair[1], "cluster_mask", lambda mask: mask * 0)
    assert "SAC targets moved by non-targets in block 0" in failed(pair, checkpoint)


def test_a_wall_between_the_clusters_is_caught_where_attention_is_global(make_checkpoint):
    checkpoint = load_checkpoint(make_checkpoint(attention="global"))
    clustered = load_checkpoint(checkpoint.path, attention="clustered")
    pair = build_pair(checkpoint, None)[0], build_pair(clustered, None)[1]
    assert "SAC targets untouched by non-targets in block 0" in failed(pair, checkpoint)


def test_nan_is_caught(pair, checkpoint):
    change_constant(pair[1], "head.bias", lambda bias: bias * np.float32("nan"))
    assert "SAC logits, torch against ONNX Runtime" in failed(pair, checkpoint)


def test_a_failed_check_is_shown_with_its_numbers(pair, checkpoint):
    change_constant(pair[0], "head.bias", lambda bias: bias + 1)
    with pytest.raises(GuardError, match=r"FAILED EE logits.*1\.00e\+00  \(limit"):
        require_held(check_pair(*pair, checkpoint, None))


def test_a_swap_within_a_tie_is_no_fault():
    attention = np.array([[0.5, 0.3, 0.3 + 1e-8, 0.1]])
    assert count_swaps(np.array([[0, 1]]), np.array([[0, 2]]), attention) == (0, 1)


def test_a_swap_beyond_a_tie_is_a_fault():
    attention = np.array([[0.5, 0.3, 0.31, 0.1]])
    assert count_swaps(np.array([[0, 1]]), np.array([[0, 2]]), attention) == (1, 0)
