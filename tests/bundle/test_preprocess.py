"""The preprocessing rule: which part of a picture is seen, and that its pixels arrive unharmed."""

from __future__ import annotations

import json
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sacvit.bundle.errors import ConfigError
from sacvit.bundle.preprocess import CROP_RATIO, IMAGENET_MEAN, IMAGENET_STD, Preprocessing, shrink

SIDES = st.integers(1, 4000)
RATIOS = st.floats(0.01, 1)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@given(height=SIDES, width=SIDES, ratio=RATIOS)
def test_the_region_lies_inside_the_picture(height: int, width: int, ratio: float) -> None:
    top, left, rows, columns = Preprocessing(64, crop_ratio=ratio).region(height, width)
    assert 0 <= top < top + rows <= height and 0 <= left < left + columns <= width


@given(height=SIDES, width=SIDES, ratio=RATIOS)
def test_the_cropped_region_is_the_centre_square_of_the_ratio_s_side(height: int, width: int, ratio: float) -> None:
    assume((height, width) != (64, 64))  # taken as it is
    top, left, rows, columns = Preprocessing(64, crop_ratio=ratio).region(height, width)
    off_centre = abs(2 * top + rows - height), abs(2 * left + columns - width)
    assert rows == columns and max(off_centre) <= 1 and abs(rows - max(1, min(height, width) * ratio)) <= 0.5


@given(height=SIDES, width=SIDES, ratio=RATIOS)
def test_the_stretched_region_is_the_whole_picture(height: int, width: int, ratio: float) -> None:
    assert Preprocessing(64, fit="stretch", crop_ratio=ratio).region(height, width) == (0, 0, height, width)


def test_imagenet_s_rule_keeps_224_of_a_short_side_of_256() -> None:
    assert Preprocessing(224).region(256, 340) == (16, 58, 224, 224)


@given(
    height=st.integers(1, 150),
    width=st.integers(1, 150),
    size=st.integers(1, 40),
    fit=st.sampled_from(["crop", "stretch"]),
    ratio=RATIOS,
)
def test_any_picture_becomes_the_square_that_the_graphs_take(
    height: int, width: int, size: int, fit: Any, ratio: float
) -> None:
    view = Preprocessing(size, fit=fit, crop_ratio=ratio).apply(noise(height, width))
    assert view.shape == (size, size, 3) and view.dtype == np.uint8


@given(height=st.integers(1, 150), width=st.integers(1, 150), size=st.integers(1, 40), seed=st.integers(0, 99))
def test_a_picture_of_one_colour_keeps_it_exactly(height: int, width: int, size: int, seed: int) -> None:
    bgr = noise(1, 1, seed)
    view = Preprocessing(size).apply(np.tile(bgr, (height, width, 1)))
    np.testing.assert_array_equal(view, np.tile(bgr[..., ::-1], (size, size, 1)))


@given(height=st.integers(1, 90), width=st.integers(1, 90), size=st.integers(1, 40))
def test_rgb_pictures_give_the_same_view_as_bgr_ones(height: int, width: int, size: int) -> None:
    rule, picture = Preprocessing(size), noise(height, width)
    swapped = np.ascontiguousarray(picture[..., ::-1])
    np.testing.assert_array_equal(rule.apply(picture), rule.apply(swapped, bgr=False))


def test_a_picture_of_the_network_s_size_is_not_cropped_once_more() -> None:
    picture = noise(48, 48)
    np.testing.assert_array_equal(Preprocessing(48, crop_ratio=0.5).apply(picture), picture[..., ::-1])


def test_the_region_of_a_picture_of_the_network_s_size_is_all_of_it() -> None:
    assert Preprocessing(48, crop_ratio=0.5).region(48, 48) == (0, 0, 48, 48)


@pytest.mark.parametrize("halvings", [1, 2, 3])
def test_shrinking_by_a_power_of_two_is_the_mean_of_the_pixels(halvings: int) -> None:
    factor = 2**halvings
    picture = noise(24 * factor, 24 * factor)
    mean = picture.reshape(24, factor, 24, factor, 3).mean((1, 3))
    view = Preprocessing(24, crop_ratio=1).apply(picture, bgr=False)
    np.testing.assert_allclose(view, mean, atol=0.5 * halvings)  # each halving rounds once


def test_the_crop_sees_the_centre_and_nothing_else() -> None:
    picture = np.zeros((100, 200, 3), np.uint8)
    picture[10:90, 60:140] = 255
    assert Preprocessing(20, crop_ratio=0.8).apply(picture).min() == 255


def test_the_stretch_sees_both_ends_of_the_long_side() -> None:
    picture = np.zeros((40, 160, 3), np.uint8)
    picture[:, 80:] = 255
    view = Preprocessing(20, fit="stretch").apply(picture)[:, :, 0]
    np.testing.assert_array_equal(view, np.repeat([[0, 255]], [10, 10], axis=1).repeat(20, axis=0))


def test_a_fine_pattern_becomes_its_mean_and_no_moire() -> None:
    checkers = np.uint8(255) * (np.indices((130, 130)).sum(0) % 2).astype(np.uint8)  # 130 / 20: no whole factor
    view = Preprocessing(20, crop_ratio=1).apply(np.dstack([checkers] * 3))
    np.testing.assert_allclose(view, 127.5, atol=0.5)


@pytest.mark.parametrize(("height", "width"), [(60, 80), (480, 640), (301, 173), (1080, 1920)])
def test_cropping_first_gives_the_view_of_resizing_first(height: int, width: int) -> None:
    corners = np.array([[[255, 0, 0], [0, 255, 0], [9, 9, 99]], [[0, 0, 255], [200, 200, 40], [90, 0, 0]]], np.uint8)
    picture = cv2.resize(corners, (width, height))
    short = 48 / CROP_RATIO / min(height, width)
    resized = cv2.resize(picture, (round(width * short), round(height * short)), interpolation=cv2.INTER_AREA)
    top, left = (resized.shape[0] - 48) // 2, (resized.shape[1] - 48) // 2
    wanted = resized[top : top + 48, left : left + 48].astype(int)
    difference = np.abs(Preprocessing(48).apply(picture, bgr=False) - wanted)
    assert difference.mean() < 4  # one pixel of this picture's slope is up to 12 grey levels; half of one is allowed


def test_the_view_is_written_into_the_given_buffer() -> None:
    rule, batch = Preprocessing(16), np.zeros((3, 16, 16, 3), np.uint8)
    rule.apply(noise(40, 50), out=batch[1])
    np.testing.assert_array_equal(batch[1], rule.apply(noise(40, 50)))


def test_the_given_buffer_is_what_comes_back() -> None:
    buffer = np.zeros((16, 16, 3), np.uint8)
    assert Preprocessing(16).apply(noise(40, 50), out=buffer) is buffer


@pytest.mark.parametrize("bgr", [True, False])
def test_the_picture_itself_is_left_as_it_was(bgr: bool) -> None:
    picture = noise(16, 16)
    Preprocessing(16, crop_ratio=1).apply(picture, bgr=bgr)[:] = 0
    np.testing.assert_array_equal(picture, noise(16, 16))


@given(height=st.integers(1, 300), width=st.integers(1, 300), size=st.integers(1, 40))
def test_shrink_ends_between_one_and_two_target_sizes(height: int, width: int, size: int) -> None:
    rows, columns = shrink(np.zeros((height, width, 3), np.uint8), size).shape[:2]
    assert min(height, size) <= rows < 2 * size or height < size
    assert min(width, size) <= columns < 2 * size or width < size


@given(height=st.integers(1, 79), width=st.integers(1, 79))
def test_shrink_leaves_what_is_below_two_target_sizes(height: int, width: int) -> None:
    picture = noise(height, width)
    assert shrink(picture, 40) is picture


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 0}, "image size must be a positive whole number, found 0"),
        ({"image_size": -3}, "image size must be a positive whole number, found -3"),
        ({"mean": (0.5, 0.5)}, "mean and std need three numbers each"),
        ({"std": (0.5, 0.5, 0.5, 0.5)}, "mean and std need three numbers each"),
        ({"std": (0.5, 0.0, 0.5)}, "std above 0; found"),
        ({"std": (0.5, -0.1, 0.5)}, "std above 0; found"),
        ({"fit": "pad"}, "fit must be one of crop, stretch; found 'pad'"),
        ({"crop_ratio": 0.0}, r"crop ratio must lie in \(0, 1\], found 0.0"),
        ({"crop_ratio": 1.01}, r"crop ratio must lie in \(0, 1\], found 1.01"),
        ({"crop_ratio": float("nan")}, r"crop ratio must lie in \(0, 1\], found nan"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Preprocessing(**({"image_size": 64} | changes))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({}, "preprocessing is not readable"),
        ({"image_size": "64"}, "image size must be a positive whole number, found '64'"),
        ({"image_size": 64.5}, r"image size must be a positive whole number, found 64\.5"),
        ({"image_size": 64, "mean": None}, "mean and std need three numbers each, found None"),
        ({"image_size": 64, "mean": ["a", "b", "c"]}, r"mean and std need three numbers each, found \('a', 'b', 'c'\)"),
        ({"image_size": 64, "std": [float("nan")] * 3}, r"three numbers each, .*\(nan, nan, nan\)"),
        ({"image_size": 64, "std": [float("inf")] * 3}, r"three numbers each, .*\(inf, inf, inf\)"),
    ],
)
def test_a_written_rule_of_wrong_types_is_refused(entries: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Preprocessing.from_dict(entries)


@given(
    image_size=st.integers(1, 2048),
    mean=st.tuples(*[st.floats(0, 1)] * 3),
    std=st.tuples(*[st.floats(0.001, 1)] * 3),
    fit=st.sampled_from(["crop", "stretch"]),
    ratio=RATIOS,
)
def test_a_rule_survives_json(image_size: int, mean: Any, std: Any, fit: Any, ratio: float) -> None:
    rule = Preprocessing(image_size, mean, std, fit, ratio)
    assert Preprocessing.from_dict(json.loads(json.dumps(rule.to_dict()))) == rule


def test_the_default_rule_is_imagenet_s() -> None:
    assert Preprocessing.from_dict({"image_size": 224}) == Preprocessing(
        224, IMAGENET_MEAN, IMAGENET_STD, "crop", 224 / 256
    )


def test_an_unknown_entry_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"unknown entry 'crop_ration' \(did you mean crop_ratio\?\)"):
        Preprocessing.from_dict({"image_size": 64, "crop_ration": 1.0})
