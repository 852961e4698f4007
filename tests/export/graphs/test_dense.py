"""The graphs of a dense task: they answer as the network does, cell by cell, and parity finds the faults that were planted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from sacvit.bundle.gating import confidence_of
from sacvit.bundle.precision import FORMS
from sacvit.calibration.onnx_session import Pair, Session
from sacvit.export.checks.lint import lint_graph
from sacvit.export.checks.parity import check_pair
from sacvit.export.graphs import dense
from sacvit.export.pair_graphs import build_graphs, build_pair
from sacvit.export.write_plain import plain_graphs, plain_of
from sacvit.model.checkpoint import Checkpoint, load_checkpoint


@pytest.fixture(scope="module", params=["topk", "uncertain"])
def checkpoint(request: pytest.FixtureRequest, make_checkpoint: Any) -> Checkpoint:
    return load_checkpoint(make_checkpoint(task="dense", selection=request.param))


def failed(checkpoint: Checkpoint, batch: int | None = None) -> list[str]:
    ee, sac = build_pair(checkpoint, batch)
    return [check.name for check in check_pair(ee, sac, checkpoint, batch) if not check.holds]


@pytest.mark.parametrize("form", FORMS)
def test_the_pair_does_what_the_network_does_in_the_portable_subset(checkpoint: Checkpoint, form: Any) -> None:
    graphs = build_graphs(checkpoint, None, (form,))[form]
    assert [check.name for check in check_pair(graphs["EE"], graphs["SAC"], checkpoint, None) if not check.holds] == []
    assert lint_graph(graphs["EE"]) + lint_graph(graphs["SAC"]) == []


def test_a_fixed_batch_answers_alike(checkpoint: Checkpoint) -> None:
    assert failed(checkpoint, batch=2) == []


@pytest.mark.parametrize(
    "switches", [{"attention": "global"}, {"reuse": "outputs"}, {"positions": "one"}, {"class_cluster": "both"}]
)
def test_the_switches_of_a_network_hold_for_a_dense_task_too(make_checkpoint: Any, switches: Any) -> None:
    assert failed(load_checkpoint(make_checkpoint(task="dense", **switches))) == []


def test_every_output_has_a_fixed_shape(checkpoint: Checkpoint) -> None:
    ee, sac = build_pair(checkpoint, 2)
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*ee.graph.output, *sac.graph.output)
    }
    assert shapes == {
        "logits": [2, 8, 8, 7],
        "confidence": [2],
        "target_index": [2, 8],
        "target_context": [2, 8, 32],
        "non_target": [2, 8, 32],
        "non_target_index": [2, 8],
        "class_attention": [2, 4, 4],
    }


def test_confidence_is_that_of_the_least_sure_cell(checkpoint: Checkpoint, images: np.ndarray) -> None:
    found = Session(build_pair(checkpoint, None)[0]).run({"image": images})
    np.testing.assert_allclose(found["confidence"], confidence_of(found["logits"]), atol=1e-6)


def test_non_targets_may_come_in_any_order_with_their_indices(checkpoint: Checkpoint, images: np.ndarray) -> None:
    pair = Pair(*build_pair(checkpoint, None))
    handed = pair.run_ee(images[:4])
    turned = handed | {name: handed[name][:, ::-1].copy() for name in ("non_target", "non_target_index")}
    np.testing.assert_allclose(pair.run_sac(images[:4], turned), pair.run_sac(images[:4], handed), atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_the_plain_graph_does_what_the_plain_network_does(make_checkpoint: Any, images: np.ndarray, form: Any) -> None:
    checkpoint = load_checkpoint(make_checkpoint(task="dense"))
    model = plain_of(checkpoint).eval()
    graph = plain_graphs(model, checkpoint.preprocessing, None, checkpoint.sha256)[form]
    with torch.no_grad():
        wanted = model(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(Session(graph).run({"image": images})["logits"], wanted, atol=1e-4)


# Planted faults


def test_parity_finds_cells_in_the_order_of_blocks(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    def by_block(g: Any, answers: str, config: Any) -> str:
        return g.reshape("cells.of_image", answers, -1, config.cells, config.cells, config.classes)

    monkeypatch.setattr(dense, "on_cells", by_block)
    assert {"EE logits, torch against ONNX Runtime", "SAC logits, torch against ONNX Runtime"} <= set(
        failed(checkpoint)
    )


def test_parity_finds_answers_that_are_not_put_back(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = dense.gather_tokens

    def gather(g: Any, name: str, tokens: str, index: str, width: int) -> str:
        return tokens if name == "cells.ordered" else whole(g, name, tokens, index, width)

    monkeypatch.setattr(dense, "gather_tokens", gather)
    assert "SAC logits, torch against ONNX Runtime" in failed(checkpoint)


def test_parity_finds_a_coarse_token_that_is_not_at_its_index(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = dense.select

    def select(g: Any, score: str, config: Any, handed: Any) -> tuple[str, str, str]:
        order, targets, others = whole(g, score, config, handed)
        return order, targets, g.op("turned", "Sub", g.constant("last", np.array(config.blocks - 1, np.int32)), others)

    monkeypatch.setattr(dense, "select", select)
    assert "EE blocks that are neither target nor non-target" in failed(checkpoint)


def test_parity_finds_targets_that_are_not_the_least_sure_blocks(make_checkpoint: Any) -> None:
    unsure = load_checkpoint(make_checkpoint(task="dense", selection="uncertain"))
    ee, sac = build_pair(unsure, None)
    unsure.model.config = replace(unsure.config, selection="topk")
    assert "EE target blocks that differ" in [
        check.name for check in check_pair(ee, sac, unsure, None) if not check.holds
    ]
