"""Shares of an object in the blocks, against a count of the pixels that the preprocessing itself moves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit.bundle.preprocess import Preprocessing
from sacvit.images.boxes.columns import Box
from sacvit.images.boxes.shares import block_shares

WHOLE = (0, 0, 40, 40)  # a region, with blocks of 10 pixels on a grid of 4


def shares_of(*boxes, region=WHOLE, grid=4):
    found = block_shares([Box(*box, 1) for box in boxes], region, grid)
    return {place: share for place, share in enumerate(found.round(9).tolist()) if share}


def test_a_box_in_one_block_is_wholly_there():
    assert shares_of((11, 21, 5, 5)) == {9: 1.0}


def test_a_box_over_four_blocks_is_divided_by_area():
    assert shares_of((8, 9, 10, 10)) == {0: 0.02, 1: 0.08, 4: 0.18, 5: 0.72}


def test_where_boxes_overlap_the_area_counts_once():
    assert shares_of((0, 0, 10, 10), (0, 0, 10, 10), (5, 0, 10, 10)) == {
        0: pytest.approx(2 / 3),
        1: pytest.approx(1 / 3),
    }


def test_only_what_the_crop_keeps_counts():
    assert shares_of((10, 0, 100, 20), region=(10, 30, 40, 40)) == dict.fromkeys(range(4), 0.25)


def test_a_box_that_the_crop_cuts_off_has_no_shares():
    assert shares_of((0, 0, 10, 10), region=(10, 30, 40, 40)) == {}


@pytest.mark.parametrize(
    "rule",
    [Preprocessing(16, crop_ratio=0.75), Preprocessing(16, fit="stretch"), Preprocessing(48, crop_ratio=0.75)],
    ids=["crop", "stretch", "taken as it is"],
)
def test_the_region_is_the_preprocessing_s(rule):
    """Against the picture of the object itself: white on black, cropped and resized as the network sees it."""
    picture = np.zeros((48, 48 if rule.image_size == 48 else 96, 3), np.uint8)
    picture[9:30, 20:45] = 255
    view = rule.apply(picture)[..., 0].astype(float)
    side = rule.image_size // 4
    expected = view.reshape(4, side, 4, side).sum((1, 3)).ravel() / view.sum()
    found = block_shares([Box(20, 9, 25, 21, 1)], rule.region(*picture.shape[:2]), 4)
    np.testing.assert_allclose(found, expected, atol=0.03)  # bilinear resizing softens edges by less than a pixel


BOX = st.tuples(*[st.floats(-20, 60, width=16)] * 2, *[st.floats(0.25, 60, width=16)] * 2)


@given(st.lists(BOX, min_size=1, max_size=5), st.integers(1, 7))
def test_shares_add_up_to_one_or_to_nothing(boxes, grid):
    found = block_shares([Box(*box, 1) for box in boxes], (3, 5, 30, 20), grid)
    assert (found >= 0).all() and (found.sum() == pytest.approx(1) or not found.any())
