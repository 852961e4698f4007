"""The graphs of a two-stage classifier: EE, SAC, and the plain ViT that both are measured against.

Inputs, outputs and their meaning are the contract of docs/graphs.md. `batch` is a number, or None for symbolic B and K.
`form`: both compute the same; "gpu" needs fewer kernels and no FP32 product, "cpu" reads fewer weights.

More than 250 lines: the three graphs and the steps that they share are read beside each other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx

from ...bundle.precision import Form, Products
from ...bundle.preprocess import Preprocessing
from ...model.config import ModelConfig
from .builder import Array, GraphBuilder
from .clusters import cluster_attention
from .families import EMBEDDINGS
from .layers import Heads, Mix, attention_heads, block, classify, layer_norm, mlp
from .patches import centre, halve
from .projections import Weights
from .selection import HandOff, class_attention, gather_tokens, position_tables, regroup, score_of, select


def build_ee(
    config: ModelConfig,
    weights: Weights,
    preprocessing: Preprocessing,
    batch: int | None,
    form: Form = "cpu",
    handed: HandOff | None = None,
) -> onnx.ModelProto:
    """image -> logits, confidence, target_index, target_context, non_target, class_attention.

    handed: what is handed over where it is more than one SAC of this config reads.
    """
    handed = handed or HandOff.of(config)
    g = GraphBuilder()
    grid, tokens, last = config.grid, config.ee_tokens, config.depth - 1
    b = batch or "B"
    embedding, x, heads, attention = coarse_pass(g, config, weights, preprocessing, batch, form)
    order, targets, others = select(g, score_of(g, attention, x, config), config, handed)

    # Of the last block, the class token and the tokens that are handed over are read.
    one = g.constant("class_token.count", np.array(1, np.int32))
    reuses_outputs = config.reuse == "outputs"
    blocks = order if reuses_outputs else targets
    read = g.op("read_token", "Pad", g.op("target_token", "Add", blocks, one), g.integers(0, 1, 0, 0))  # (B, 1 + M)

    def only(rows: str) -> str:
        return gather_tokens(g, f"{rows}.read", rows, read, config.width)

    x = block(g, f"blocks.{last}", x, heads, weights, config, tokens, only=only)
    normed, logits = classify(g, x, weights, config, form)
    context = g.slice("target_context", normed, 1, 1 + handed.targets, 1)
    if reuses_outputs:
        non_target = g.slice("non_target", normed, tokens - handed.non_targets, tokens, 1)
    else:
        index_of_others = g.op("non_target_token", "Add", others, one)
        non_target = gather_tokens(g, "non_target", embedding, index_of_others, config.width)
    probability = g.op("probability", "Softmax", logits, axis=-1)
    g.op("confidence", "ReduceMax", probability, axes=[-1], keepdims=0)
    g.reshape("class_attention", attention, -1, grid, grid)

    rename(g, {logits: "logits", targets: "target_index"})
    g.output("logits", "float32", [b, config.classes])
    g.output("confidence", "float32", [b])
    g.output("target_index", "int32", [b, handed.targets])
    g.output(context, "float32", [b, handed.targets, config.width])
    g.output(non_target, "float32", [b, handed.non_targets, config.width])
    g.output("class_attention", "float32", [b, grid, grid])
    return g.model("EE")


class Coarse(NamedTuple):
    """EE up to its last block. embedding, x: (B, 1 + G*G, D), what the first and the last block read; heads: of the last
    block; attention: global class attention (B, G*G)."""

    embedding: str
    x: str
    heads: Heads
    attention: str


def coarse_pass(
    g: GraphBuilder,
    config: ModelConfig,
    weights: Weights,
    preprocessing: Preprocessing,
    batch: int | None,
    form: Form,
) -> Coarse:
    """From the input `image` to the last block, which each task reads in its own way."""
    size, tokens = config.image_size, config.ee_tokens
    image = g.input("image", "uint8", [batch or "B", size, size, 3])
    coarse = centre(g, "halve", halve(g, g.cast("halve.pixels", image, "float32"), config))  # (B, S/2, S/2, 3)
    positions = position_tables(weights, config)[0]
    embedding = x = embed_image(g, coarse, config.grid, config, weights, preprocessing, positions, form)

    last = config.depth - 1
    heads = []
    for index in range(config.depth):
        name = f"blocks.{index}"
        heads.append(attention_heads(g, name, x, weights, config, tokens, form))
        if index < last:
            x = block(g, name, x, heads[index], weights, config, tokens)
    attention = class_attention(g, heads[config.first_attention_block :], config, form)  # (B, G*G)
    return Coarse(embedding, x, heads[last], attention)


def build_sac(
    config: ModelConfig,
    weights: Weights,
    preprocessing: Preprocessing,
    batch: int | None,
    form: Form = "cpu",
    products: Products = "masked",
    handed: HandOff | None = None,
) -> onnx.ModelProto:
    """image, row, target_index, target_context, non_target -> logits.

    products: see `clusters`. handed: what EE hands over, where it is more than this SAC reads.
    """
    g = GraphBuilder()
    x, _ = fine_tokens(g, config, weights, preprocessing, batch, form, handed)
    mix = cluster_attention(g, config, products)
    x = read_blocks(g, x, weights, config, config.sac_tokens, mix, 4 * config.targets, form)
    _, logits = classify(g, x, weights, config, form)
    rename(g, {logits: "logits"})
    g.output("logits", "float32", [batch or "K", config.classes])
    return g.model("SAC")


def fine_tokens(
    g: GraphBuilder,
    config: ModelConfig,
    weights: Weights,
    preprocessing: Preprocessing,
    batch: int | None,
    form: Form,
    handed: HandOff | None = None,
) -> tuple[str, str]:
    """From SAC's inputs to what its first block reads, (K, 4 M + 1 + U, D), and the survivors' target indices (K, M).

    Tokens stand in the order targets (4 M), class token, non-targets (U).
    """
    handed = handed or HandOff.of(config)
    size, width, count = config.image_size, config.width, config.targets
    b, k = batch or "B", batch or "K"
    image = g.input("image", "uint8", [b, size, size, 3])
    row = g.input("row", "int32", [k])
    given = {
        "target_index": g.input("target_index", "int32", [b, handed.targets]),
        "target_context": g.input("target_context", "float32", [b, handed.targets, width]),
        "non_target": g.input("non_target", "float32", [b, handed.non_targets, width]),
    }
    rows = {name: g.op(f"row.{name}", "Gather", value, row, axis=0) for name, value in given.items()}
    index, context, others = rows["target_index"], rows["target_context"], rows["non_target"]
    if handed.targets > count:
        index = g.slice("own.target_index", index, 0, count, 1)  # (K, M)
        context = g.slice("own.target_context", context, 0, count, 1)
    if handed.non_targets > config.non_targets:
        others = g.slice("own.non_target", others, handed.non_targets - config.non_targets, handed.non_targets, 1)

    # The image as rows of p pixels: one Gather cuts all targets out of the survivors' images.
    writer = EMBEDDINGS[config.family]
    strips = g.reshape("strips", g.cast("pixels", image, "float32"), -1, 3 * config.first_patch)
    table = g.constant("strip.table", writer.strips(config))
    inside = g.op("strip.inside", "Gather", table, index, axis=0)  # (K, M, strips): places in one image
    per_image = g.constant("strip.per_image", np.array(size * size // config.first_patch, np.int32))
    first = g.reshape("strip.first", g.op("strip.of_row", "Mul", row, per_image), -1, 1, 1)
    cut = g.op("strip.cut", "Gather", strips, g.op("strip.place", "Add", inside, first), axis=0)  # (K, M, strips, 3 p)
    embedded = writer.of_blocks(g, centre(g, "strip", cut), config, weights, preprocessing, form)

    _, fine = position_tables(weights, config)
    positions = g.constant("position.table", regroup(fine[0, 1:] + embedded.bias, config))  # (G*G, 4, D)
    position = g.op("position", "Gather", positions, index, axis=0)  # (K, M, 4, D)
    normed = layer_norm(g, "reuse_block.0", context, weights)
    reused = g.op("reuse.each", "Unsqueeze", mlp(g, "reuse_block.1", normed, weights), g.integers(2))
    placed = g.reshape("placed", g.op("position.reused", "Add", position, reused), -1, 4 * count, width)
    targets = g.op("targets", "Add", embedded.name, placed)

    # A zero row in front of the non-targets becomes the class token.
    class_row = np.zeros((1, config.non_targets + 1, width), np.float32)
    class_row[:, 0] = weights["cls_token"][0] + fine[:, 0]
    padded = g.op("others.padded", "Pad", others, g.integers(0, 1, 0, 0, 0, 0))
    tail = g.op("others", "Add", padded, g.constant("class_token.row", class_row))
    return g.op("embedding", "Concat", targets, tail, axis=1), index


def build_plain(
    config: ModelConfig, weights: Weights, preprocessing: Preprocessing, batch: int | None, form: Form = "cpu"
) -> onnx.ModelProto:
    """image -> logits of the single-stage ViT, through the same layers: the baseline of benchmarks."""
    g = GraphBuilder()
    x = plain_tokens(g, config, weights, preprocessing, batch, form)
    x = read_blocks(g, x, weights, config, config.cells**2 + 1, None, 0, form)
    _, logits = classify(g, x, weights, config, form)
    rename(g, {logits: "logits"})
    g.output("logits", "float32", [batch or "B", config.classes])
    return g.model("plain")


def plain_tokens(
    g: GraphBuilder, config: ModelConfig, weights: Weights, preprocessing: Preprocessing, batch: int | None, form: Form
) -> str:
    """From the input `image` to [class token, all fine patches] (B, 1 + 4*G*G, D)."""
    size = config.image_size
    image = g.input("image", "uint8", [batch or "B", size, size, 3])
    pixels = centre(g, "pixels", g.cast("pixels", image, "float32"))
    return embed_image(g, pixels, config.cells, config, weights, preprocessing, weights["pos_embed"], form)


def embed_image(
    g: GraphBuilder,
    pixels: str,
    cells: int,
    config: ModelConfig,
    weights: Weights,
    preprocessing: Preprocessing,
    positions: Array,
    form: Form,
) -> str:
    """[class token, all cells of an image] in row-major order, positions added: `embedding` (B, 1 + cells*cells, D).

    pixels: (B, cells*P, cells*P, 3), centred. positions: (1, 1 + cells*cells, D).
    """
    embedded = EMBEDDINGS[config.family].of_image(g, pixels, cells, config, weights, preprocessing, form)
    # A zero row in front becomes the class token when the table, which holds it, is added.
    padded = g.op("patch_embed.padded", "Pad", embedded.name, g.integers(0, 1, 0, 0, 0, 0))
    table = positions.copy()
    table[:, 1:] += embedded.bias
    table[:, :1] += weights["cls_token"]
    return g.op("embedding", "Add", padded, g.constant("embedding.table", table))


def read_blocks(
    g: GraphBuilder,
    x: str,
    weights: Weights,
    config: ModelConfig,
    tokens: int,
    mix: Mix | None,
    place: int | None,
    form: Form,
) -> str:
    """All blocks over x (B, N, D): the class token alone (B, 1, D), which stands at `place`; without one, all tokens."""
    for index in range(config.depth - 1):
        name = f"blocks.{index}"
        heads = attention_heads(g, name, x, weights, config, tokens, form)
        x = block(g, name, x, heads, weights, config, tokens, mix)
    last = f"blocks.{config.depth - 1}"
    heads = attention_heads(g, last, x, weights, config, tokens, form)

    def only(rows: str) -> str:
        assert place is not None
        return g.slice(f"{rows}.read", rows, place, place + 1, 1)

    return block(g, last, x, heads, weights, config, tokens, mix, None if place is None else only)


def rename(g: GraphBuilder, names: dict[str, str]) -> None:
    """Gives tensors their public names."""
    for node in g.nodes:
        for field in (node.input, node.output):
            for place, name in enumerate(field):
                field[place] = names.get(name, name)
