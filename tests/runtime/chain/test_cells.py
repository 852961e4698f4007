"""A dense answer read from logits, in words and in runs."""

from __future__ import annotations

import numpy as np
import pytest

from sacvit.bundle.errors import EngineError
from sacvit.runtime.chain.cells import Cells, read_cells

LABELS = ["ground", "bolt", "nut"]


def cells_of(classes: list[list[int]]) -> Cells:
    found = np.array(classes)
    return Cells(found, np.ones(found.shape, np.float32), LABELS)


def test_each_cell_has_its_most_probable_class_and_that_class_s_probability() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (4, 4, 3)).astype(np.float32)
    found = read_cells(logits, LABELS)
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_array_equal(found.classes, shares.argmax(-1))
    np.testing.assert_allclose(found.confidence, shares.max(-1), rtol=1e-5)


def test_classes_without_names_are_numbered() -> None:
    assert read_cells(np.zeros((2, 2, 3), np.float32), None).labels == ["0", "1", "2"]


def test_runs_give_the_classes_back() -> None:
    classes = np.random.default_rng(0).integers(0, 2, (6, 6))
    runs = np.array(Cells(classes, np.ones((6, 6), np.float32), LABELS).runs())
    np.testing.assert_array_equal(np.repeat(runs[::2], runs[1::2]).reshape(6, 6), classes)
    assert (np.diff(runs[::2]) != 0).all()


def test_the_text_names_what_lies_on_the_ground_the_largest_first() -> None:
    assert cells_of([[0, 2, 2, 2], [1, 1, 0, 0]]).text() == "nut 38%, bolt 25%"


def test_ground_alone_is_named() -> None:
    assert cells_of([[0, 0], [0, 0]]).text() == "ground"


def test_the_most_frequent_class_counts_cells() -> None:
    assert cells_of([[0, 2], [2, 1]]).most_frequent == 2


def test_nan_is_refused() -> None:
    logits = np.zeros((2, 2, 3), np.float32)
    logits[1, 0] = np.nan
    with pytest.raises(EngineError, match="NaN"):
        read_cells(logits, LABELS)
