"""The levels of a hierarchical network as nodes of a graph: windows of small patches, attention inside, and merging.

The pixels of a window are cut out in the order in which its tokens merge (model/embeddings/windows.py). Then merging four
tokens into one is a Reshape, and the windows of all images are one batch of each product.
"""

from __future__ import annotations

import numpy as np

from ...bundle.precision import Form
from ...bundle.preprocess import Preprocessing
from ...model.config import ModelConfig
from ...model.embeddings.windows import quad_order
from .builder import Array, GraphBuilder
from .layers import attention_heads, block, layer_norm
from .patches import Tokens, project
from .projections import Weights


def windows_of_image(
    g: GraphBuilder,
    pixels: str,
    cells: int,
    config: ModelConfig,
    weights: Weights,
    preprocessing: Preprocessing,
    form: Form,
) -> Tokens:
    """All blocks of an image, (B, cells*cells, D) in row-major order. pixels: (B, cells*P, cells*P, 3), centred."""
    grid, side = config.grid, cells // config.grid  # of a window, in tokens of the last level
    strip = 3 * config.first_patch
    table = window_strips(config, side)
    strips = g.reshape("strips", pixels, -1, cells * cells * config.patch_size**2 * 3 // strip, strip)
    cut = g.op("strip.cut", "Gather", strips, g.constant("strip.table", table.reshape(-1)), axis=1)
    x = levels(g, cut, side, config, weights, preprocessing, form)
    if side == 1:
        return Tokens(g.reshape("windows", x, -1, grid * grid, config.width), 0.0)
    x = g.reshape("windows.cells", x, -1, grid, grid, side, side * config.width)
    x = g.op("windows.by_row", "Transpose", x, perm=[0, 1, 3, 2, 4])
    return Tokens(g.reshape("windows", x, -1, cells * cells, config.width), 0.0)


def windows_of_blocks(
    g: GraphBuilder, cut: str, config: ModelConfig, weights: Weights, preprocessing: Preprocessing, form: Form
) -> Tokens:
    """The four tokens of each of M blocks: (K, 4 M, D). cut: (K, M, strips, 3 p), the strips of `target_strips`, centred."""
    x = levels(g, cut, 2, config, weights, preprocessing, form)
    return Tokens(g.reshape("windows", x, -1, 4 * config.targets, config.width), 0.0)


def levels(
    g: GraphBuilder,
    cut: str,
    side: int,
    config: ModelConfig,
    weights: Weights,
    preprocessing: Preprocessing,
    form: Form,
) -> str:
    """From strips of pixels, window by window, to (windows, side*side, D)."""
    first = config.first_patch
    tokens = side * side << 2 * len(config.levels)
    patches = g.reshape("patches", cut, -1, tokens, 3 * first * first)
    embedded = project(g, patches, weights, preprocessing)
    places = weights["patch_embed.pos_embed"][0]
    if tokens < len(places):  # EE's: the mean of the four that a token covers
        places = places.reshape(tokens, 4, -1).mean(1, dtype=np.float64).astype(np.float32)
    table = g.constant("patch_embed.table", (places + embedded.bias)[None])
    x = g.op("patch_embed", "Add", embedded.name, table)
    for number, shape in enumerate(config.level_shapes):
        level = f"patch_embed.levels.{number}"
        for index in range(shape.depth):
            name = f"{level}.blocks.{index}"
            heads = attention_heads(g, name, x, weights, shape, tokens, form)
            x = block(g, name, x, heads, weights, shape, tokens)
        tokens //= 4
        x = g.reshape(f"{level}.squares", x, -1, tokens, 4 * shape.width)
        normed = layer_norm(g, f"{level}.norm", x, weights)
        merge = g.constant(f"{level}.merge.weight", weights[f"{level}.merge.weight"].T)
        x = g.op(f"{level}.merge.matmul", "MatMul", normed, merge)
    return x


def target_strips(config: ModelConfig) -> Array:
    """Those of the full image: see `window_strips`."""
    return window_strips(config, 2)


def window_strips(config: ModelConfig, side: int) -> Array:
    """(G*G, strips) int32: which p-pixel strips of an image, row-major, make the patches of a block in their order.

    p: the side of the first level's patches. side: of a window in tokens of the last level, 1 (EE's half image) or 2.
    """
    grid, patch = config.grid, config.first_patch
    tokens = side << len(config.levels)  # along a side of a window
    strips = np.arange(grid * tokens * patch * grid * tokens, dtype=np.int32)
    cells = strips.reshape(grid, tokens, patch, grid, tokens).transpose(0, 3, 1, 4, 2)  # (G, G, tokens, tokens, p)
    ordered = cells.reshape(config.blocks, tokens * tokens, patch)[:, quad_order(tokens)]
    return np.ascontiguousarray(ordered.reshape(config.blocks, -1))
