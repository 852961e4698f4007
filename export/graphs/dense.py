"""The graphs of a dense task: logits (B, 2G, 2G, C), from the same layers as a classifier's.

EE hands over `non_target_index` too. SAC computes answers by block, in the order targets, non-targets, and puts them back in
the order of the image: a TopK over the indices of all blocks, with the constant K = G*G, is the inverse permutation.

Products of the heads are not named like weighted layers, so that no quantizer takes them. In an FP16 graph they are FP16: for
a head that reads many tokens, the sum of products of `layers.classify` would be slow.
"""

from __future__ import annotations

import numpy as np
import onnx

from ...bundle.precision import Form, Products
from ...bundle.preprocess import Preprocessing
from ...model.config import ModelConfig
from .builder import GraphBuilder
from .clusters import cluster_attention
from .layers import block, layer_norm
from .projections import Weights
from .selection import HandOff, gather_tokens, score_of, select
from .stages import coarse_pass, fine_tokens, plain_tokens, read_blocks, rename


def build_dense_ee(
    config: ModelConfig, weights: Weights, preprocessing: Preprocessing, batch: int | None, form: Form = "cpu"
) -> onnx.ModelProto:
    """image -> a classifier's outputs and non_target_index. `confidence` is that of the least sure cell."""
    g = GraphBuilder()
    b, last, width = batch or "B", config.depth - 1, config.width
    embedding, x, heads, attention = coarse_pass(g, config, weights, preprocessing, batch, form)
    score = score_of(g, attention, x, config)
    x = block(g, f"blocks.{last}", x, heads, weights, config, config.ee_tokens)
    normed = layer_norm(g, "norm", x, weights)
    patches = g.slice("cells.coarse.tokens", normed, 1, config.ee_tokens, 1)
    answers = answer(g, "cells.coarse", patches, weights, "coarse_head")  # (B, G*G, 4 C)
    doubt = judge(g, answers, config)
    _, targets, others = select(g, doubt if config.selection == "uncertain" else score, config, HandOff.of(config))
    one = g.constant("class_token.count", np.array(1, np.int32))
    context = gather_tokens(g, "target_context", normed, g.op("target_token", "Add", targets, one), width)
    reused = normed if config.reuse == "outputs" else embedding
    non_target = gather_tokens(g, "non_target", reused, g.op("non_target_token", "Add", others, one), width)
    g.reshape("class_attention", attention, -1, config.grid, config.grid)

    rename(g, {on_cells(g, answers, config): "logits", targets: "target_index", others: "non_target_index"})
    g.output("logits", "float32", [b, config.cells, config.cells, config.classes])
    g.output("confidence", "float32", [b])
    g.output("target_index", "int32", [b, config.targets])
    g.output(context, "float32", [b, config.targets, width])
    g.output(non_target, "float32", [b, config.non_targets, width])
    g.output("non_target_index", "int32", [b, config.non_targets])
    g.output("class_attention", "float32", [b, config.grid, config.grid])
    return g.model("EE")


def build_dense_sac(
    config: ModelConfig,
    weights: Weights,
    preprocessing: Preprocessing,
    batch: int | None,
    form: Form = "cpu",
    products: Products = "masked",
) -> onnx.ModelProto:
    """image, row, target_index, target_context, non_target, non_target_index -> logits. products: see `clusters`."""
    g = GraphBuilder()
    x, targets = fine_tokens(g, config, weights, preprocessing, batch, form)
    others = g.input("non_target_index", "int32", [batch or "B", config.non_targets])
    others = g.op("row.non_target_index", "Gather", others, "row", axis=0)
    mix = cluster_attention(g, config, products)
    x = read_blocks(g, x, weights, config, config.sac_tokens, mix, None, form)
    normed = layer_norm(g, "norm", x, weights)
    fine = 4 * config.targets
    of_targets = answer(g, "cells.fine", g.slice("cells.fine.tokens", normed, 0, fine, 1), weights, "head")
    of_targets = g.reshape("cells.fine.blocks", of_targets, -1, config.targets, 4 * config.classes)
    rest = g.slice("cells.coarse.tokens", normed, fine + 1, config.sac_tokens, 1)
    of_others = answer(g, "cells.coarse", rest, weights, "coarse_head")
    answers = g.op("cells", "Concat", of_targets, of_others, axis=1)  # (K, G*G, 4 C) in the order of the tokens

    order = g.cast(
        "select.blocks", g.op("select.both", "Concat", targets, others, axis=1), "float32"
    )  # exact: below 2^24
    _, place = g.ops(
        ["select.rising", "select.place"], "TopK", order, g.integers(config.blocks), axis=1, largest=0, sorted=1
    )
    place = g.cast("select.place.int32", place, "int32")
    answers = gather_tokens(g, "cells.ordered", answers, place, 4 * config.classes)
    rename(g, {on_cells(g, answers, config): "logits"})
    g.output("logits", "float32", [batch or "K", config.cells, config.cells, config.classes])
    return g.model("SAC")


def build_dense_plain(
    config: ModelConfig, weights: Weights, preprocessing: Preprocessing, batch: int | None, form: Form = "cpu"
) -> onnx.ModelProto:
    """image -> logits of the single-stage ViT, a patch per cell."""
    g = GraphBuilder()
    tokens = config.cells**2 + 1
    x = plain_tokens(g, config, weights, preprocessing, batch, form)
    normed = layer_norm(g, "norm", read_blocks(g, x, weights, config, tokens, None, None, form), weights)
    answers = answer(g, "cells.fine", g.slice("cells.fine.tokens", normed, 1, tokens, 1), weights, "head")
    logits = g.reshape("cells.plain", answers, -1, config.cells, config.cells, config.classes)
    rename(g, {logits: "logits"})
    g.output("logits", "float32", [batch or "B", config.cells, config.cells, config.classes])
    return g.model("plain")


def answer(g: GraphBuilder, name: str, tokens: str, weights: Weights, head: str) -> str:
    """A head over tokens (B, N, D)."""
    product = g.op(f"{name}.product", "MatMul", tokens, g.constant(f"{name}.weight", weights[f"{head}.weight"].T))
    return g.op(name, "Add", product, g.constant(f"{name}.bias", weights[f"{head}.bias"]))


def judge(g: GraphBuilder, answers: str, config: ModelConfig) -> str:
    """From answers (B, G*G, 4 C) the doubt about each block (B, G*G): 1 - the least confidence of its cells. Writes
    `confidence` too."""
    cells = g.reshape("probability.cells", answers, -1, 4 * config.blocks, config.classes)
    sure = g.op(
        "probability.largest", "ReduceMax", g.op("probability", "Softmax", cells, axis=-1), axes=[2], keepdims=0
    )
    doubt = g.op("confidence.doubt", "Sub", g.scalar(1), sure)
    of_blocks = g.reshape("confidence.blocks", doubt, -1, config.blocks, 4)
    worst = g.op("confidence.worst", "ReduceMax", of_blocks, axes=[2], keepdims=0)
    g.op("confidence", "Sub", g.scalar(1), g.op("confidence.least", "ReduceMax", worst, axes=[1], keepdims=0))
    return worst


def on_cells(g: GraphBuilder, answers: str, config: ModelConfig) -> str:
    """Answers (B, G*G, 4 C) by block, row-major -> (B, 2G, 2G, C)."""
    grid, classes = config.grid, config.classes
    rows = g.reshape("cells.by_block", answers, -1, grid, grid, 2, 2 * classes)
    rows = g.op("cells.by_row", "Transpose", rows, perm=[0, 1, 3, 2, 4])
    return g.reshape("cells.of_image", rows, -1, config.cells, config.cells, classes)
