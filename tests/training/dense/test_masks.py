"""Masks from disk: per cell as they are, per pixel by the class of most pixels; anything else is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sacvit.bundle.errors import ImageError
from sacvit.training.dense import masks as masks_module
from sacvit.training.dense.masks import most_frequent, read_masks


def read(folder: Path, masks: Any) -> Any:
    np.save(folder / "masks.npy", masks)
    return read_masks(folder, count=3, side=8, cells=4)


def test_a_mask_per_cell_is_taken_as_it_is(tmp_path: Path) -> None:
    masks = np.arange(48, dtype=np.uint8).reshape(3, 4, 4)
    np.testing.assert_array_equal(read(tmp_path, masks), masks)


def test_a_cell_has_the_class_of_most_of_its_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks_module, "AT_ONCE", 2)
    pixels = np.zeros((3, 8, 8), np.int64)
    pixels[2, 2:4, 4:6] = [[5, 1], [5, 5]]  # three of the four pixels of cell (1, 2)
    wanted = np.zeros((3, 4, 4), np.int64)
    wanted[2, 1, 2] = 5
    np.testing.assert_array_equal(read(tmp_path, pixels), wanted)


def test_of_equally_frequent_classes_the_lowest_counts() -> None:
    assert most_frequent(np.array([[7, 2, 7, 2]])).tolist() == [2]


@pytest.mark.parametrize(
    "masks",
    [
        np.zeros((2, 4, 4), np.uint8),
        np.zeros((3, 4, 5), np.uint8),
        np.zeros((3, 4, 4), np.float32),
        np.full((3, 4, 4), -1),
        np.full((3, 8, 8), 5000),
    ],
    ids=["too few", "another grid", "not whole numbers", "below 0", "too many classes"],
)
def test_masks_that_do_not_fit_are_refused_with_the_file(tmp_path: Path, masks: Any) -> None:
    with pytest.raises(ImageError, match=r"masks\.npy"):
        read(tmp_path, masks)


def test_missing_masks_are_refused_with_their_form(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"no masks\.npy, which --task dense needs: \(N, 4, 4\)"):
        read_masks(tmp_path, 3, 8, 4)
