"""What happens to training images: each change by its definition, on pixels that show it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit.bundle.preprocess import Preprocessing
from sacvit.training.augment import Augmentation, Mixing, erase_box, jitter_colours, random_crop, swap_box

RULE = Preprocessing(16)
NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def generators(count: int) -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in range(count)]


def test_no_augmentation_is_the_preprocessing_rule() -> None:
    np.testing.assert_array_equal(Augmentation().apply(NOISE, RULE, np.random.default_rng(0)), RULE.apply(NOISE))


def test_crops_are_squares_of_the_picture_in_every_place() -> None:
    """A picture whose red is the row and whose blue the column: a crop's means tell where it lies."""
    rows, columns = np.mgrid[0:100, 0:200].astype(np.uint8)
    picture = np.stack([columns, np.zeros_like(rows), rows], -1)  # BGR
    views = [random_crop(picture, 16, rng).astype(float) for rng in generators(200)]
    heights = np.array([np.ptp(view[..., 0]) for view in views])  # RGB
    widths = np.array([np.ptp(view[..., 2]) for view in views])
    np.testing.assert_allclose(heights, widths, atol=2)
    shares = ((heights + heights / 15) / 100) ** 2  # of the largest square's area; the ends are pixel centres
    assert 0.3 < shares.min() < 0.4 and 0.88 < shares.max() < 1.05
    assert np.ptp([view[..., 2].mean() for view in views]) > 120


def test_half_of_the_crops_are_mirrored() -> None:
    picture = np.tile(np.arange(60, dtype=np.uint8)[None, :, None] * 4, (40, 1, 3))
    rises = [view[8, -1, 0] > view[8, 0, 0] for view in (random_crop(picture, 16, rng) for rng in generators(400))]
    assert 160 < sum(rises) < 240  # 4 sigma


def test_jitter_of_a_grey_image_keeps_it_grey() -> None:
    view = np.repeat(NOISE[:16, :16, :1], 3, axis=2)
    changed = jitter_colours(view, 0.4, np.random.default_rng(1)).astype(int)
    assert np.ptp(changed, axis=2).max() <= 1 and (changed != view).any()


def test_jitter_of_one_colour_changes_brightness_and_saturation_alone() -> None:
    view = np.full((16, 16, 3), (100, 60, 80), np.uint8)
    levels = [jitter_colours(view, 0.4, rng).astype(float)[0, 0] for rng in generators(300)]
    grey = np.array([level @ (0.299, 0.587, 0.114) for level in levels])
    assert grey.min() < 50 and grey.max() > 95  # 74 times 0.6 .. 1.4
    for level, value in zip(levels, grey, strict=True):
        np.testing.assert_allclose(
            (level - value) / (level - value)[0], (np.array([100, 60, 80]) - 74.24) / 25.76, atol=0.15
        )


def test_jitter_stretches_contrast_around_the_mean() -> None:
    view = np.repeat((NOISE[:16, :16, :1] // 4 + 96), 3, axis=2)
    ratios = []
    for rng in generators(300):
        changed = jitter_colours(view, 0.4, rng).astype(float)
        ratios.append((changed.std() / changed.mean()) / (view.std() / view.mean()))
    assert 0.58 < min(ratios) < 0.65 and 1.35 < max(ratios) < 1.42


def test_a_jitter_of_nothing_changes_nothing() -> None:
    np.testing.assert_array_equal(jitter_colours(NOISE, 0.0, np.random.default_rng(0)), NOISE)


def test_an_erased_box_has_the_share_that_was_asked_for_and_the_rest_stays() -> None:
    view = np.zeros((64, 64, 3), np.uint8)
    shares = []
    for rng in generators(300):
        changed = np.any(erase_box(view, rng) != 0, axis=2)
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        shares.append(changed.mean())
        assert changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() > 0.8  # noise of 0 is rare
    assert min(shares) < 0.03 and 0.28 < max(shares) < 0.35 and not view.any()


def test_a_box_of_noise_has_imagenet_s_colours() -> None:
    noise = np.concatenate([erase_box(np.zeros((64, 64, 3), np.uint8), rng).reshape(-1, 3) for rng in generators(200)])
    means = noise[noise.any(1)].mean(0) / 255
    np.testing.assert_allclose(means, (0.485, 0.456, 0.406), atol=0.03)  # clipped at 0 and 255


def test_as_many_images_are_erased_as_the_probability_says() -> None:
    view = np.zeros((16, 16, 3), np.uint8)
    erased = [Augmentation(erase=0.25).recolour(view, rng).any() for rng in generators(1000)]
    assert 195 < sum(erased) < 305  # 4 sigma


@given(st.integers(0, 2**32), st.floats(0, 1))
def test_what_cutmix_says_that_stays_is_what_stays(seed: int, kept: float) -> None:
    pair = np.stack([np.zeros((16, 16, 3), np.uint8), np.ones((16, 16, 3), np.uint8)])
    mixed, stayed = swap_box(pair, kept, np.random.default_rng(seed))
    assert mixed[0].mean() == pytest.approx(1 - stayed) and mixed[1].mean() == pytest.approx(stayed)


def test_mixup_draws_its_weight_from_the_beta_distribution() -> None:
    pair = np.zeros((2, 4, 4, 3), np.uint8)
    weights = np.array([Mixing(mixup=0.8).apply(pair, rng)[1] for rng in generators(2000)])
    assert weights.mean() == pytest.approx(0.5, abs=0.03) and weights.var() == pytest.approx(0.25 / 2.6, rel=0.1)


def test_with_both_half_of_the_pairs_are_cut() -> None:
    pair = np.stack([np.zeros((32, 32, 3), np.uint8), np.full((32, 32, 3), 200, np.uint8)])
    blended = [bool(np.isin(Mixing(1.0, 1.0).apply(pair, rng)[0], (0, 200)).all()) for rng in generators(400)]
    assert 160 < sum(blended) < 240
