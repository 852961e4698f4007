"""The graphs of a hierarchical network: they answer as the network does, and parity finds the faults that were planted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sacvit.bundle.precision import FORMS
from sacvit.calibration.onnx_session import Session
from sacvit.export.checks.lint import lint_graph
from sacvit.export.checks.parity import check_pair
from sacvit.export.graphs import windows
from sacvit.export.pair_graphs import build_graphs, build_pair
from sacvit.export.write_plain import plain_graphs, plain_of
from sacvit.model.checkpoint import Checkpoint, load_checkpoint

LEVELS: dict[str, Any] = {"levels": (1, 2), "depth": 3, "heads": 4}


@pytest.fixture(scope="module", params=["topk", "norm"])
def checkpoint(request: pytest.FixtureRequest, make_checkpoint: Any) -> Checkpoint:
    return load_checkpoint(make_checkpoint(selection=request.param, **LEVELS))


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
    "switches",
    [
        {"levels": (1,), "depth": 4},
        {"selection": "window", "window": 3, "alpha": 0.7},
        {"attention": "global", "reuse": "outputs", "positions": "one"},
        {"task": "dense"},
    ],
    ids=str,
)
def test_the_switches_of_a_vit_hold_for_a_hierarchical_network_too(make_checkpoint: Any, switches: Any) -> None:
    assert failed(load_checkpoint(make_checkpoint(**LEVELS | switches))) == []


@pytest.mark.parametrize("task", ["classify", "dense"])
@pytest.mark.parametrize("form", FORMS)
def test_the_full_graph_does_what_the_full_network_does(
    make_checkpoint: Any, images: np.ndarray, form: Any, task: Any
) -> None:
    checkpoint = load_checkpoint(make_checkpoint(task=task, **LEVELS))
    model = plain_of(checkpoint).eval()
    graph = plain_graphs(model, checkpoint.preprocessing, None, checkpoint.sha256)[form]
    with torch.no_grad():
        wanted = model(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(Session(graph).run({"image": images})["logits"], wanted, atol=1e-4)


def test_sac_cuts_the_windows_of_its_targets_alone(checkpoint: Checkpoint) -> None:
    """Garbage in the pixels of every other block moves no answer."""
    ee, sac = build_pair(checkpoint, None)
    image = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype(np.uint8)
    handed = Session(ee).run({"image": image})
    inputs = {name: handed[name] for name in ("target_index", "target_context", "non_target")}
    inputs["row"] = np.zeros(1, np.int32)
    spoilt = image.copy()
    for block in set(range(16)) - set(handed["target_index"][0].tolist()):
        row, column = 16 * (block // 4), 16 * (block % 4)
        spoilt[0, row : row + 16, column : column + 16] = 0
    found = [Session(sac).run(inputs | {"image": pixels})["logits"] for pixels in (image, spoilt)]
    assert (spoilt != image).any() and np.array_equal(*found)


# Planted faults


def test_parity_finds_tokens_that_are_not_in_the_order_of_merging(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "quad_order", lambda side: list(range(side * side)))
    assert {"EE logits, torch against ONNX Runtime", "SAC logits, torch against ONNX Runtime"} <= set(
        failed(checkpoint)
    )


def test_parity_finds_windows_of_ee_with_the_places_of_sac_s(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = windows.levels

    def levels(g: Any, cut: str, side: int, config: Any, weights: Any, *rest: Any) -> str:
        wrong = weights | {"patch_embed.pos_embed": np.roll(weights["patch_embed.pos_embed"], 4, 1)}
        return whole(g, cut, side, config, wrong if side == 1 else weights, *rest)

    monkeypatch.setattr(windows, "levels", levels)
    assert "EE logits, torch against ONNX Runtime" in failed(checkpoint)


def test_parity_finds_attended_blocks_in_place_of_those_with_large_features(make_checkpoint: Any) -> None:
    from dataclasses import replace

    by_norm = load_checkpoint(make_checkpoint(selection="norm", **LEVELS))
    ee, sac = build_pair(by_norm, None)
    by_norm.model.config = replace(by_norm.config, selection="topk")
    assert "EE target blocks that differ" in [
        check.name for check in check_pair(ee, sac, by_norm, None) if not check.holds
    ]
