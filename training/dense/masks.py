"""Masks of a dense task: `masks.npy` beside `images.npy`, a class per cell of the fine grid or per pixel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...bundle.arrays import load_array
from ...bundle.errors import ImageError

MASKS_NAME = "masks.npy"
MOST_CLASSES = 1000  # of pixel masks, which are counted class by class
AT_ONCE = 256  # images that are counted in one step

Masks = npt.NDArray[Any]


def read_masks(folder: Path, count: int, side: int, cells: int) -> Masks:
    """The class of each cell, (N, 2G, 2G) whole numbers from 0 on.

    count: of images; side: S; cells: 2G. A mask per pixel, (N, S, S), is reduced: a cell has the class of most of its
    pixels, and of equal ones the lowest. Raises ImageError for anything else.
    """
    path = folder / MASKS_NAME
    if not path.is_file():
        raise ImageError(
            f"{folder} has no {MASKS_NAME}, which --task dense needs: (N, {cells}, {cells}) whole numbers, the class of"
            f" each cell, or (N, {side}, {side}), the class of each pixel"
        )
    masks = load_array(path, "r")
    if masks.dtype.kind not in "iu" or masks.shape not in ((count, cells, cells), (count, side, side)):
        raise ImageError(
            f"{path} must be ({count}, {cells}, {cells}) whole numbers, or ({count}, {side}, {side}); found {masks.dtype}"
            f" {masks.shape}"
        )
    lowest, highest = int(masks.min()), int(masks.max())
    if lowest < 0 or highest >= MOST_CLASSES:
        raise ImageError(f"{path}: classes go from {lowest} to {highest}; expected 0 to {MOST_CLASSES - 1}")
    if masks.shape[1] == cells:
        return np.array(masks)
    patch = side // cells
    parts = np.split(masks, range(AT_ONCE, count, AT_ONCE))
    pieces = (part.reshape(-1, cells, patch, cells, patch).transpose(0, 1, 3, 2, 4) for part in parts)
    return np.concatenate([most_frequent(piece.reshape(*piece.shape[:3], -1)) for piece in pieces])


def most_frequent(values: Masks) -> Masks:
    """The most frequent value of the last axis; of equally frequent ones the lowest."""
    best = np.zeros(values.shape[:-1], values.dtype)
    most = np.zeros(values.shape[:-1], np.int64)
    for value in np.unique(values):
        found = (values == value).sum(-1)
        best[found > most] = value
        most = np.maximum(most, found)
    return best
