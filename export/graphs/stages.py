"""The graphs of a two-stage network: EE, SAC, and the plain ViT that both are measured against.

Inputs, outputs and their meaning are the contract of docs/graphs.md. `batch` is a number, or None for symbolic B and K.
"""

from __future__ import annotations

import numpy as np
import onnx

from ...bundle.preprocess import Preprocessing
from ...model.config import FIRST_ATTENTION_BLOCK, ModelConfig
from .builder import Array, GraphBuilder
from .layers import Weights, block, classify, layer_norm, mlp

PIXEL_CENTRE = 128
MASKED = -1e4  # exp(-1e4) is 0 in FP32 and FP16, and FP16 can hold it


def build_ee(config: ModelConfig, weights: Weights, preprocessing: Preprocessing, batch: int | None) -> onnx.ModelProto:
    """image -> logits, confidence, target_index, target_context, non_target, class_attention."""
    g = GraphBuilder()
    size, grid, patch, tokens = config.image_size, config.grid, config.patch_size, config.ee_tokens
    b = batch or "B"
    image = g.input("image", "uint8", [b, size, size, 3])
    coarse = centre(g, "halve", halve(g, g.cast("halve.pixels", image, "float32"), config))  # (B, S/2, S/2, 3)
    embedding = x = embed_grid(g, coarse, grid, patch, weights, preprocessing, weights["pos_embed_list.0"])

    rows = []
    for index in range(config.depth):
        x, query, key = block(g, index, x, weights, config, tokens)
        if index >= FIRST_ATTENTION_BLOCK:
            class_query = g.slice(f"class_attention.query.{index}", query, 0, 1, 2)
            rows.append(g.op(f"class_attention.scores.{index}", "MatMul", class_query, key))  # (B, H, 1, N)
    normed, logits = classify(g, x, weights, config)
    attention = class_attention(g, rows, config)  # (B, G*G)
    targets, others = select(g, attention, config)

    one = g.constant("class_token.count", np.array(1, np.int32))
    context = gather_tokens(g, "target_context", normed, g.op("target_token", "Add", targets, one), config.width)
    non_target = gather_tokens(g, "non_target", embedding, g.op("non_target_token", "Add", others, one), config.width)
    probability = g.op("probability", "Softmax", logits, axis=-1)
    g.op("confidence", "ReduceMax", probability, axes=[-1], keepdims=0)
    g.reshape("class_attention", attention, -1, grid, grid)

    rename(g, {logits: "logits", targets: "target_index"})
    g.output("logits", "float32", [b, config.classes])
    g.output("confidence", "float32", [b])
    g.output("target_index", "int32", [b, config.targets])
    g.output(context, "float32", [b, config.targets, config.width])
    g.output(non_target, "float32", [b, config.non_targets, config.width])
    g.output("class_attention", "float32", [b, grid, grid])
    return g.model("EE")


def build_sac(
    config: ModelConfig, weights: Weights, preprocessing: Preprocessing, batch: int | None
) -> onnx.ModelProto:
    """image, row, target_index, target_context, non_target -> logits.

    Tokens stand in the order targets (4 M), class token, non-targets (U).
    """
    g = GraphBuilder()
    size, patch, width, count = config.image_size, config.patch_size, config.width, config.targets
    b, k = batch or "B", batch or "K"
    image = g.input("image", "uint8", [b, size, size, 3])
    row = g.input("row", "int32", [k])
    index = g.op("row.target_index", "Gather", g.input("target_index", "int32", [b, count]), row, axis=0)  # (K, M)
    context = g.input("target_context", "float32", [b, count, width])
    others = g.input("non_target", "float32", [b, config.non_targets, width])
    context = g.op("row.target_context", "Gather", context, row, axis=0)
    others = g.op("row.non_target", "Gather", others, row, axis=0)

    # The image as rows of P pixels: one Gather cuts all fine patches of all targets out of the survivors' images.
    strips = g.reshape("strips", g.cast("pixels", image, "float32"), -1, 3 * patch)
    table = g.constant("strip.table", strip_table(config))
    inside = g.op("strip.inside", "Gather", table, index, axis=0)  # (K, M, 4 P): places in one image
    per_image = g.constant("strip.per_image", np.array(size * size // patch, np.int32))
    first = g.reshape("strip.first", g.op("strip.of_row", "Mul", row, per_image), -1, 1, 1)
    cut = g.op("strip.cut", "Gather", strips, g.op("strip.place", "Add", inside, first), axis=0)  # (K, M, 4 P, 3 P)
    patches = g.reshape("patches", centre(g, "strip", cut), -1, 4 * count, 3 * patch * patch)
    weight, bias = patch_projection(weights, preprocessing)
    embedded = g.op("patch_embed.matmul", "MatMul", patches, g.constant("patch_embed.weight", weight.T))

    fine = weights["pos_embed_list.1"]
    positions = g.constant("position.table", regroup(fine[0, 1:] + bias, config))  # (G*G, 4, D)
    position = g.op("position", "Gather", positions, index, axis=0)  # (K, M, 4, D)
    normed = layer_norm(g, "reuse_block.0", context, weights)
    reused = g.op("reuse.each", "Unsqueeze", mlp(g, "reuse_block.1", normed, weights), g.integers(2))
    placed = g.reshape("placed", g.op("position.reused", "Add", position, reused), -1, 4 * count, width)
    targets = g.op("targets", "Add", embedded, placed)

    # A zero row in front of the non-targets becomes the class token.
    class_row = np.zeros((1, config.non_targets + 1, width), np.float32)
    class_row[:, 0] = weights["cls_token"][0] + fine[:, 0]
    padded = g.op("others.padded", "Pad", others, g.integers(0, 1, 0, 0, 0, 0))
    tail = g.op("others", "Add", padded, g.constant("class_token.row", class_row))
    x = g.op("embedding", "Concat", targets, tail, axis=1)  # (K, 4 M + 1 + U, D)

    mask = g.constant("cluster_mask", cluster_mask(config)) if config.attention == "clustered" else None
    for layer in range(config.depth):
        x, _, _ = block(g, layer, x, weights, config, config.sac_tokens, mask)
    _, logits = classify(g, x, weights, config, 4 * count)
    rename(g, {logits: "logits"})
    g.output("logits", "float32", [k, config.classes])
    return g.model("SAC")


def build_plain(
    config: ModelConfig, weights: Weights, preprocessing: Preprocessing, batch: int | None
) -> onnx.ModelProto:
    """image -> logits of the single-stage ViT, through the same layers: the baseline of benchmarks."""
    g = GraphBuilder()
    size, patch, fine = config.image_size, config.patch_size, 2 * config.grid
    b = batch or "B"
    pixels = centre(g, "pixels", g.cast("pixels", g.input("image", "uint8", [b, size, size, 3]), "float32"))
    x = embed_grid(g, pixels, fine, patch, weights, preprocessing, weights["pos_embed"])
    for index in range(config.depth):
        x, _, _ = block(g, index, x, weights, config, fine * fine + 1)
    _, logits = classify(g, x, weights, config)
    rename(g, {logits: "logits"})
    g.output("logits", "float32", [b, config.classes])
    return g.model("plain")


def embed_grid(
    g: GraphBuilder,
    pixels: str,
    grid: int,
    patch: int,
    weights: Weights,
    preprocessing: Preprocessing,
    positions: Array,
) -> str:
    """[class token, all patches] of an image in row-major order, positions added: `embedding` (B, 1 + grid*grid, D).

    pixels: (B, grid*P, grid*P, 3), centred. positions: (1, 1 + grid*grid, D).
    """
    cells = g.reshape("cells", pixels, -1, grid, patch, grid, 3 * patch)
    cells = g.op("cells.by_patch", "Transpose", cells, perm=[0, 1, 3, 2, 4])
    weight, bias = patch_projection(weights, preprocessing)
    patches = g.reshape("patches", cells, -1, grid * grid, 3 * patch * patch)
    embedded = g.op("patch_embed.matmul", "MatMul", patches, g.constant("patch_embed.weight", weight.T))
    # A zero row in front becomes the class token when the table, which holds it, is added.
    padded = g.op("patch_embed.padded", "Pad", embedded, g.integers(0, 1, 0, 0, 0, 0))
    table = positions.copy()
    table[:, 1:] += bias
    table[:, :1] += weights["cls_token"]
    return g.op("embedding", "Add", padded, g.constant("embedding.table", table))


def centre(g: GraphBuilder, name: str, pixels: str) -> str:
    """Raw pixels, 0 .. 255, as (pixel - 128) / 128: symmetric, so that INT8 uses all its steps, with a scale of 1/128
    that is exact in every type; and the weights behind it keep a size that FP16 holds well.
    """
    shifted = g.op(f"{name}.shifted", "Sub", pixels, g.scalar(PIXEL_CENTRE))
    return g.op(f"{name}.centred", "Mul", shifted, g.scalar(1 / PIXEL_CENTRE))


def patch_projection(weights: Weights, preprocessing: Preprocessing) -> tuple[Array, Array]:
    """The patch embedding for centred pixels x in the order (row, column, RGB): weight (D, 3 P P), bias (D,).

    ((128 x + 128) / 255 - mean) / std is folded in: W' = W 128 / (255 std), b' = b + sum W (128 / 255 - mean) / std.
    """
    weight = weights["patch_embed.proj.weight"].astype(np.float64)  # (D, 3, P, P)
    mean, std = (np.array(values).reshape(1, 3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    bias = weights["patch_embed.proj.bias"] + (weight * (PIXEL_CENTRE / 255 - mean) / std).sum((1, 2, 3))
    folded = (weight * PIXEL_CENTRE / (255 * std)).transpose(0, 2, 3, 1).reshape(len(weight), -1)
    return folded.astype(np.float32), bias.astype(np.float32)


def halve(g: GraphBuilder, image: str, config: ModelConfig) -> str:
    """(B, S, S, 3) -> (B, S/2, S/2, 3): rows, then columns, each output a weighted pair of inputs."""
    size, half = config.image_size, config.coarse_size
    first, share = line_pairs(config)
    x = g.reshape("halve.rows", image, -1, size, 3 * size)
    x = weighted_pair(g, "halve.row", x, first, share.reshape(half, 1))  # (B, S/2, 3 S)
    x = g.reshape("halve.columns", x, -1, half, size, 3)
    x = g.op("halve.columns.first", "Transpose", x, perm=[0, 2, 1, 3])
    x = weighted_pair(g, "halve.column", x, first, share.reshape(half, 1, 1))
    return g.op("halve.out", "Transpose", x, perm=[0, 2, 1, 3])


def weighted_pair(g: GraphBuilder, name: str, x: str, first: Array, share: Array) -> str:
    """(1 - share) * x[:, first] + share * x[:, first + 1]."""
    low = g.op(f"{name}.low", "Gather", x, g.constant(f"{name}.low.index", first), axis=1)
    high = g.op(f"{name}.high", "Gather", x, g.constant(f"{name}.high.index", first + 1), axis=1)
    low = g.op(f"{name}.low.part", "Mul", low, g.constant(f"{name}.low.share", 1 - share))
    high = g.op(f"{name}.high.part", "Mul", high, g.constant(f"{name}.high.share", share))
    return g.op(name, "Add", low, high)


def line_pairs(config: ModelConfig) -> tuple[Array, Array]:
    """Which two neighbouring lines make a line of the coarse image: index of the first (S/2,), share of the second."""
    size, half = config.image_size, config.coarse_size
    if config.downsample == "area":
        return np.arange(0, size, 2, dtype=np.int32), np.full(half, 0.5, np.float32)
    # align_corners=True: the corners coincide. In FP32 like torch: exact places differ from its by up to 1e-5 of a pixel,
    # and the public weights were trained with torch's.
    place = np.arange(half, dtype=np.float32) * (np.float32(size - 1) / np.float32(half - 1))
    first = np.minimum(place.astype(np.int32), size - 2)
    return first, place - first.astype(np.float32)


def class_attention(g: GraphBuilder, scores: list[str], config: ModelConfig) -> str:
    """Global class attention (B, G*G) from the class token's score rows, (B, H, 1, N) per counted block.

    One softmax serves all blocks, and it stands beside the main attention: a second reader of that one's softmax would
    stop TensorRT from fusing it.
    """
    count = len(scores) * config.heads
    stacked = g.op("class_attention.scores", "Concat", *scores, axis=1)  # (B, blocks * H, 1, N)
    softmax = g.op("class_attention.softmax", "Softmax", stacked, axis=-1)
    patches = g.slice("class_attention.patches", softmax, 1, config.ee_tokens, 3)
    patches = g.reshape("class_attention.rows", patches, -1, count, config.blocks)
    weights = np.repeat(np.array(config.attention_weights) / config.heads, config.heads).astype(np.float32)
    summed = g.op("class_attention.sum", "MatMul", g.constant("class_attention.weights", weights[None]), patches)
    return g.reshape("class_attention.flat", summed, -1, config.blocks)


def select(g: GraphBuilder, attention: str, config: ModelConfig) -> tuple[str, str]:
    """Block indices, most attended first, as int32: targets (B, M) and the others (B, U)."""
    score = attention
    if config.window is not None:
        inside = window_members(config.grid, config.window)  # (windows, G*G)
        sums = g.op("window.sums", "MatMul", attention, g.constant("window.inside", inside.T))
        _, best = g.ops(["window.largest", "window.best"], "TopK", sums, g.integers(1), axis=1, largest=1, sorted=1)
        best = g.cast("window.best.int32", best, "int32")
        # 2 less outside puts every block there below every block inside, and leaves the inside exact.
        penalty = g.op("window.penalty", "Gather", g.constant("window.outside", 2 * (1 - inside)), best, axis=0)
        score = g.op("window.score", "Sub", attention, g.reshape("window.penalty.flat", penalty, -1, config.blocks))
    _, order = g.ops(
        ["select.sorted", "select.order"], "TopK", score, g.integers(config.blocks), axis=1, largest=1, sorted=1
    )
    order = g.cast("select.order.int32", order, "int32")
    sizes = g.integers(config.targets, config.non_targets)
    targets, others = g.ops(["select.targets", "select.others"], "Split", order, sizes, axis=1)
    return targets, others


def gather_tokens(g: GraphBuilder, name: str, tokens: str, index: str, width: int) -> str:
    """tokens (B, N, D), index (B, K) int32 -> (B, K, D), each image with its own index."""
    column = g.op(f"{name}.column", "Unsqueeze", index, g.integers(2))
    spread = g.op(f"{name}.spread", "Expand", column, g.integers(1, 1, width))
    return g.op(name, "GatherElements", tokens, spread, axis=1)


def window_members(grid: int, window: int) -> Array:
    """(windows, G*G) float32, 1 where the block lies in the window; windows in row-major order."""
    places = range(grid - window + 1)
    members = np.zeros((len(places), len(places), grid, grid), np.float32)
    for row in places:
        for column in places:
            members[row, column, row : row + window, column : column + window] = 1
    return members.reshape(-1, grid * grid)


def strip_table(config: ModelConfig) -> Array:
    """(G*G, 4 P) int32: which P-pixel strips of an image, row-major on (S, 2 G), make the four patches of a block."""
    strips = np.arange(config.image_size * 2 * config.grid, dtype=np.int32)
    cells = strips.reshape(config.grid, 2, config.patch_size, config.grid, 2).transpose(0, 3, 1, 4, 2)
    return cells.reshape(config.blocks, 4 * config.patch_size)


def regroup(fine: Array, config: ModelConfig) -> Array:
    """(4*G*G, D) row-major on the fine grid -> (G*G, 4, D): the four fine tokens of each block."""
    cells = fine.reshape(config.grid, 2, config.grid, 2, -1).transpose(0, 2, 1, 3, 4)
    return cells.reshape(config.blocks, 4, -1)


def cluster_mask(config: ModelConfig) -> Array:
    """(1, 1, N, N) additive: 0 where a token may look, MASKED between the clusters. The class token sees all."""
    cluster = np.array([1] * (4 * config.targets) + [0] + [2] * config.non_targets)
    apart = (cluster[:, None] != cluster[None]) & (cluster[:, None] != 0) & (cluster[None] != 0)
    return np.where(apart, MASKED, 0).astype(np.float32)[None, None]


def rename(g: GraphBuilder, names: dict[str, str]) -> None:
    """Gives tensors their public names."""
    for node in g.nodes:
        for field in (node.input, node.output):
            for place, name in enumerate(field):
                field[place] = names.get(name, name)
