"""The layer that hurts most comes first, in the table and in the picture."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sacvit.bundle.figure_style import SERIES
from sacvit.calibration.qdq_placement import insert_qdq, weighted_layers
from sacvit.calibration.sensitivity import COLUMNS, Effect, measure_sensitivity, write_table
from sacvit.calibration.sensitivity_plot import draw_sensitivity

Models = tuple[onnx.ModelProto, onnx.ModelProto]


def linear(shift: float | np.ndarray = 0.0) -> onnx.ModelProto:
    """logits = x + shift."""
    shifts = np.broadcast_to(np.asarray(shift, np.float32), (3,))
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "shift"], ["logits"], "add")],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(np.ascontiguousarray(shifts), "shift")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


FEED = [{"x": np.float32([[0, 1, 2], [3, 0, 0]])}, {"x": np.float32([[0, 0.25, 0]])}]


def measured(changes: dict[str, Any], progress: Callable[[int], object] = lambda n: None) -> list[Effect]:
    return measure_sensitivity("EE", linear(), changes, lambda layer: linear(changes[layer]), FEED, progress)


def test_the_layer_that_hurts_most_comes_first() -> None:
    assert [effect.layer for effect in measured({"a": 0.5, "b": -2, "c": 1, "d": 0})] == ["b", "c", "a", "d"]


def test_nan_comes_before_every_number() -> None:
    assert [effect.layer for effect in measured({"a": 0.5, "b": np.nan, "c": 1e30})] == ["b", "c", "a"]


def test_the_errors_are_means_and_maxima_over_all_images() -> None:
    (effect,) = measured({"a": np.array([0.5, 0, -1])})
    assert (effect.stage, effect.mean_error, effect.worst_error, effect.images) == ("EE", 0.5, 1.0, 3)


def test_changed_classes_are_counted() -> None:
    (effect,) = measured({"a": np.array([2.5, 0, 0])})  # all but the image that had class 0 before
    assert effect.top1_changes == 2


def test_the_confidence_shift_is_that_of_the_largest_probability() -> None:
    (effect,) = measured({"a": np.array([1.0, 0, 0])})

    def confidence(x: np.ndarray) -> np.ndarray:
        return (np.exp(x) / np.exp(x).sum(1, keepdims=True)).max(1)

    x = np.concatenate([part["x"] for part in FEED]).astype(np.float64)
    expected = np.abs(confidence(x + np.array([1.0, 0, 0])) - confidence(x)).mean()
    assert effect.confidence_shift == pytest.approx(expected, rel=1e-6)


def test_the_same_shift_of_all_logits_leaves_the_confidence() -> None:
    (effect,) = measured({"a": 5.0})
    assert effect.confidence_shift == pytest.approx(0, abs=1e-6)


def test_large_logits_do_not_overflow_the_confidence() -> None:
    (effect,) = measured({"a": 5000.0})
    assert np.isfinite(effect.confidence_shift)


def test_the_progress_counts_layers() -> None:
    steps: list[int] = []
    measured({"a": 0.5, "b": 1}, steps.append)
    assert steps == [1, 1]


def test_a_layer_with_an_absurd_range_comes_first(
    graphs: Models, ranges: list[dict[str, float]], stage_inputs: tuple[Any, Any]
) -> None:
    layers = [layer.name for layer in weighted_layers(graphs[0])][1:9]
    (planted,) = [layer for layer in weighted_layers(graphs[0]) if layer.name == "blocks.1.attn.proj"]
    spoiled = ranges[0] | {planted.activation: 1000 * ranges[0][planted.activation]}

    def with_only(layer: str) -> onnx.ModelProto:
        every = [found.name for found in weighted_layers(graphs[0])]
        return insert_qdq(graphs[0], spoiled, [name for name in every if name != layer])

    effects = measure_sensitivity("EE", graphs[0], layers, with_only, [stage_inputs[0]])
    assert {effect.layer for effect in effects} == set(layers)
    assert effects[0].layer == planted.name
    assert effects[0].mean_error > 5 * effects[1].mean_error


# The table

EFFECTS = [
    Effect("EE", "blocks.0.mlp.fc2", 0.25, 1.5, 0.0123456789, 3, 32),
    Effect("EE", "blocks.1.attn.qkv", 0.125, 0.5, 1e-9, 0, 32),
    Effect("EE", "blocks.0.attn.proj", 0.0625, 0.5, 0.001, 1, 32),
    Effect("EE", "blocks.1.mlp.fc1", 0.03, 0.5, 0.001, 1, 32),
    Effect("EE", "patch_embed", 0.5, 2.0, 0.5, 7, 32),
    Effect("SAC", "reuse_block.1.fc1", 0.1, 0.2, 0.3, 4, 32),
    Effect("SAC", "reuse_block.1.fc2", 0.1, 0.2, 0.3, 4, 32),
    Effect("SAC", "blocks.0.attn.qkv", 0.001, 0.2, 0.3, 4, 32),
]


def test_the_table_has_a_line_a_layer_in_the_given_order(tmp_path: Path) -> None:
    write_table(tmp_path / "a.csv", EFFECTS)
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["stage"], row["layer"]) for row in rows] == [(effect.stage, effect.layer) for effect in EFFECTS]


def test_the_table_s_columns_are_the_effect_s_numbers(tmp_path: Path) -> None:
    write_table(tmp_path / "a.csv", EFFECTS[:1])
    header, line = (tmp_path / "a.csv").read_text().splitlines()
    assert header == COLUMNS
    assert dict(zip(header.split(","), line.split(","), strict=True)) == {
        "stage": "EE",
        "layer": "blocks.0.mlp.fc2",
        "mean_logit_error": "0.25",
        "worst_logit_error": "1.5",
        "mean_confidence_shift": "0.0123457",
        "top1_changes": "3",
        "images": "32",
    }


def test_the_table_replaces_an_earlier_one(tmp_path: Path) -> None:
    for effects in (EFFECTS, EFFECTS[:1]):
        write_table(tmp_path / "a.csv", effects)
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


# The picture


def drawn(folder: Path, effects: list[Effect], title: str = "One layer in INT8") -> np.ndarray:
    pytest.importorskip("matplotlib")
    draw_sensitivity(folder / "a.png", effects, title)
    assert [path.name for path in folder.iterdir()] == ["a.png"]
    picture = cv2.imread(str(folder / "a.png"))
    assert picture is not None
    return picture


@pytest.mark.parametrize(("effects", "panels"), [(EFFECTS[:5], 1), (EFFECTS, 2)], ids=["EE", "both"])
def test_the_picture_has_a_panel_a_stage(tmp_path: Path, effects: list[Effect], panels: int) -> None:
    assert drawn(tmp_path, effects).shape == (462, 605 * panels, 3)  # 5.5 x 4.2 inches per panel, at 110 dots per inch


def test_the_picture_has_a_colour_a_kind_of_layer(tmp_path: Path) -> None:
    picture = drawn(tmp_path, EFFECTS)[..., ::-1].reshape(-1, 3)
    colours = [tuple(bytes.fromhex(colour[1:])) for colour in SERIES[:4]]  # qkv, proj, fc1, fc2
    assert all((picture == colour).all(1).any() for colour in colours)


def test_groups_of_a_whole_block_can_be_drawn_too(tmp_path: Path) -> None:
    groups = [Effect("EE", f"blocks.{block}", 0.1 + block, 1.0, 0.1, 0, 8) for block in range(3)]
    picture = drawn(tmp_path, [*groups, Effect("EE", "patch_embed", 0.2, 1.0, 0.1, 0, 8)])
    assert (picture[..., ::-1] == tuple(bytes.fromhex(SERIES[0][1:]))).all(2).any()


def test_blocks_of_levels_stand_before_those_of_the_last_level(tmp_path: Path) -> None:
    from sacvit.calibration.sensitivity_plot import _draw

    pytest.importorskip("matplotlib")
    names = ("blocks.0.mlp.fc1", "patch_embed.levels.1.blocks.0.mlp.fc1", "patch_embed.levels.0.blocks.0.mlp.fc1")
    effects = [Effect("EE", name, 0.1, 1.0, 0.1, 0, 8) for name in (*names, "patch_embed")]
    (panel,) = _draw(effects, "").axes
    assert [label.get_text() for label in panel.get_xticklabels()] == ["patch_embed", "0.0", "1.0", "0"]


def test_no_label_of_the_axis_is_a_formula(tmp_path: Path) -> None:
    from sacvit.calibration.sensitivity_plot import _draw

    pytest.importorskip("matplotlib")
    figure = _draw([Effect("EE", f"blocks.{n}.mlp.fc1", 0.004 + 0.004 * n, 1.0, 0.1, 0, 8) for n in range(4)], "")
    figure.savefig(tmp_path / "a.png")  # places the ticks
    (panel,) = figure.axes
    labels = [label.get_text() for label in panel.get_yticklabels(which="both")]
    assert any(labels) and not any("$" in label for label in labels)


def test_another_error_gives_another_picture(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    changed = [Effect("EE", "blocks.0.mlp.fc2", 0.9, 1.5, 0.01, 3, 32), *EFFECTS[1:]]
    assert (drawn(tmp_path / "1", EFFECTS) != drawn(tmp_path / "2", changed)).any()


@pytest.mark.parametrize("error", [0.0, np.nan])
def test_an_error_that_a_logarithm_cannot_show_is_no_fault(tmp_path: Path, error: float) -> None:
    drawn(tmp_path, [Effect("EE", "blocks.0.mlp.fc1", error, error, 0.0, 0, 8), *EFFECTS])
