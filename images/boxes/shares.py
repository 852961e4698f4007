"""How an object spreads over the coarse blocks: the share of its boxes' area in each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .columns import Box

Region = tuple[int, int, int, int]  # top, left, height, width: what the preprocessing keeps of a picture


def block_shares(boxes: Sequence[Box], region: Region, grid: int) -> npt.NDArray[np.float64]:
    """(grid * grid,) shares that add up to 1; all 0 where the region shows no part of a box.

    Where boxes overlap, the area counts once. The region is resized to a square, so its blocks are equal parts of it. Halving
    may drop up to three edge pixels before that; this is ignored.
    """
    top, left, height, width = region
    # Coordinates in blocks. The edges of all boxes and blocks cut the region into cells that lie inside or outside of each.
    spans = [
        np.clip(
            [
                ((box.left - left) * grid / width, (box.left + box.width - left) * grid / width),
                ((box.top - top) * grid / height, (box.top + box.height - top) * grid / height),
            ],
            0,
            grid,
        )
        for box in boxes
    ]
    x_edges, y_edges = (
        np.unique(np.concatenate([np.arange(grid + 1.0), *(span[axis] for span in spans)])) for axis in (0, 1)
    )
    inside = np.zeros((len(y_edges) - 1, len(x_edges) - 1), np.bool_)
    for (x0, x1), (y0, y1) in spans:
        rows, columns = np.searchsorted(y_edges, (y0, y1)), np.searchsorted(x_edges, (x0, x1))
        inside[slice(*rows), slice(*columns)] = True
    area = inside * np.outer(np.diff(y_edges), np.diff(x_edges))
    shares = np.zeros((grid, grid))
    np.add.at(shares, np.ix_(y_edges[:-1].astype(int), x_edges[:-1].astype(int)), area)
    total = shares.sum()
    return (shares / total if total > 0 else shares).ravel()
