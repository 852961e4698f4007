"""Attention in clusters: each meaning of the class token, in both forms of its products, against torch."""

from __future__ import annotations

import numpy as np
import pytest

from sacvit.calibration.onnx_session import Pair, Session
from sacvit.export.checks.lint import lint_graph
from sacvit.export.checks.parity import check_images, check_pair
from sacvit.export.graphs.clusters import cluster_mask
from sacvit.export.pair_graphs import build_graphs
from sacvit.model.checkpoint import load_checkpoint
from sacvit.model.config import ModelConfig

MEANINGS = ("global", "target", "both")
PRODUCTS = ("masked", "separate")


def build_pair(checkpoint, batch, products):
    graphs = build_graphs(checkpoint, batch, ("cpu",), products)["cpu"]
    return graphs["EE"], graphs["SAC"]


@pytest.fixture(scope="module", params=MEANINGS)
def checkpoint(request, make_checkpoint):
    return load_checkpoint(make_checkpoint(class_cluster=request.param))


@pytest.mark.parametrize("products", PRODUCTS)
def test_each_meaning_agrees_with_torch_in_each_form(checkpoint, products):
    checks = check_pair(*build_pair(checkpoint, None, products), checkpoint, None)
    assert [str(check) for check in checks if not check.holds] == []


@pytest.mark.parametrize("form", ["cpu", "gpu"])
def test_separate_products_give_the_answers_of_the_masked_one(checkpoint, form):
    graphs = [build_graphs(checkpoint, None, (form,), products)[form] for products in PRODUCTS]
    pair, images = Pair(graphs[0]["EE"]), check_images(checkpoint.config, 3)
    inputs = pair.sac_inputs(images, pair.run_ee(images))
    masked, separate = (Session(graph["SAC"]).run(inputs)["logits"] for graph in graphs)
    np.testing.assert_allclose(masked, separate, atol=2e-5, rtol=0)  # FP32, another order of sums


@pytest.mark.parametrize("products", PRODUCTS)
def test_each_form_is_portable(checkpoint, products):
    assert lint_graph(build_pair(checkpoint, 1, products)[1]) == []


def test_separate_products_need_no_mask(checkpoint):
    sac = build_pair(checkpoint, None, "separate")[1]
    assert "cluster_mask" not in {tensor.name for tensor in sac.graph.initializer}


def test_without_clusters_both_forms_are_one_graph(make_checkpoint):
    checkpoint = load_checkpoint(make_checkpoint(attention="global"))
    masked, separate = (build_pair(checkpoint, None, products)[1] for products in PRODUCTS)
    assert masked.SerializeToString(deterministic=True) == separate.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    ("class_cluster", "rows"),
    [
        ("global", ["1111.", "1111.", "1111.", "11111", "...11"]),
        ("target", ["1111.", "1111.", "1111.", "1111.", "....1"]),
        ("both", ["1111.", "1111.", "1111.", "1111.", "...11", "...11"]),
    ],
)
def test_the_mask_is_what_the_switch_says(class_cluster, rows):
    config = ModelConfig(
        image_size=64, patch_size=16, alpha=0.25, class_cluster=class_cluster
    )  # 1 target, 3 non-targets
    mask = cluster_mask(config)[0, 0]
    kept = [0, 1, 2, 4, 5]  # three of four fine tokens, the class token, one of three non-targets: the rest is alike
    lines = ["".join("1" if value == 0 else "." for value in line[kept]) for line in mask]
    assert [lines[place] for place in (*kept, *range(8, len(lines)))] == rows
    assert set(np.unique(mask).tolist()) == {-1e4, 0}
