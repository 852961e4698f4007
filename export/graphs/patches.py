"""From pixels to tokens: the image, centred, halved and cut into patches, as nodes of a graph."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...bundle.precision import Form
from ...bundle.preprocess import Preprocessing
from ...model.config import ModelConfig
from .builder import Array, GraphBuilder
from .projections import Weights

PIXEL_CENTRE = 128


class Tokens(NamedTuple):
    """Embedded blocks, and a bias (D,) that is still to be added: it goes into the table of positions."""

    name: str
    bias: Array | float


def patches_of_image(
    g: GraphBuilder,
    pixels: str,
    cells: int,
    config: ModelConfig,
    weights: Weights,
    preprocessing: Preprocessing,
    form: Form,
) -> Tokens:
    """All patches of an image in row-major order: (B, cells*cells, D). pixels: (B, cells*P, cells*P, 3), centred."""
    patch = config.patch_size
    rows = g.reshape("cells", pixels, -1, cells, patch, cells, 3 * patch)
    rows = g.op("cells.by_patch", "Transpose", rows, perm=[0, 1, 3, 2, 4])
    return project(g, g.reshape("patches", rows, -1, cells * cells, 3 * patch * patch), weights, preprocessing)


def patches_of_blocks(
    g: GraphBuilder, cut: str, config: ModelConfig, weights: Weights, preprocessing: Preprocessing, form: Form
) -> Tokens:
    """The four patches of each of M blocks: (K, 4 M, D). cut: (K, M, 4 P, 3 P), the strips of `patch_strips`, centred."""
    values = 3 * config.patch_size**2
    return project(g, g.reshape("patches", cut, -1, 4 * config.targets, values), weights, preprocessing)


def project(g: GraphBuilder, patches: str, weights: Weights, preprocessing: Preprocessing) -> Tokens:
    """patches (.., 3 P P) -> (.., D), without the bias."""
    weight, bias = patch_projection(weights, preprocessing)
    return Tokens(g.op("patch_embed.matmul", "MatMul", patches, g.constant("patch_embed.weight", weight.T)), bias)


def patch_strips(config: ModelConfig) -> Array:
    """(G*G, 4 P) int32: which P-pixel strips of an image, row-major on (S, 2 G), make the four patches of a block."""
    strips = np.arange(config.image_size * 2 * config.grid, dtype=np.int32)
    cells = strips.reshape(config.grid, 2, config.patch_size, config.grid, 2).transpose(0, 3, 1, 4, 2)
    return cells.reshape(config.blocks, 4 * config.patch_size)


def centre(g: GraphBuilder, name: str, pixels: str) -> str:
    """Raw pixels, 0 .. 255, as (pixel - 128) / 128: symmetric, so that INT8 uses all its steps; the scale of 1/128 is exact in
    every type, and the weights that follow have a size that suits FP16.
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
    """The two neighbouring lines that make a line of the coarse image: index of the first (S/2,), share of the second."""
    size, half = config.image_size, config.coarse_size
    if config.downsample == "area":
        return np.arange(0, size, 2, dtype=np.int32), np.full(half, 0.5, np.float32)
    # align_corners=True: the corners coincide. In FP32 like torch: exact places differ from its by up to 1e-5 of a pixel,
    # and the public weights were trained with torch's.
    place = np.arange(half, dtype=np.float32) * (np.float32(size - 1) / np.float32(half - 1))
    first = np.minimum(place.astype(np.int32), size - 2)
    return first, place - first.astype(np.float32)
