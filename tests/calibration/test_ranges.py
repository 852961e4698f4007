"""Histograms of magnitudes: nothing is lost in pieces, and each of the four cuts does what its name says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sacvit.calibration.methods import Method
from sacvit.calibration.qdq_placement import LEVELS
from sacvit.calibration.ranges import BINS, PERCENTILE, SMALLEST_CUT, Histogram

METHODS: tuple[Method, ...] = ("minmax", "percentile", "entropy", "mse")
magnitudes = st.just(0.0) | st.floats(2.0**-60, 2.0**40, width=32)
values = st.builds(lambda size, sign: sign * size, magnitudes, st.sampled_from([-1, 1]))
arrays = hnp.arrays(np.float32, st.integers(0, 25), elements=values)
pieces = st.lists(arrays, min_size=1, max_size=5)


def histogram(*parts: np.ndarray) -> Histogram:
    made = Histogram()
    for part in parts:
        made.add(part)
    return made


@settings(max_examples=15)
@given(parts=pieces)
def test_pieces_have_the_largest_magnitude_of_the_whole(parts: list[np.ndarray]) -> None:
    whole = np.concatenate(parts)
    assert histogram(*parts).range_by("minmax") == histogram(whole).range_by("minmax") == np.abs(whole).max(initial=0)


@settings(max_examples=15)
@given(parts=pieces)
def test_every_value_is_counted_once(parts: list[np.ndarray]) -> None:
    assert histogram(*parts).counts.sum() == sum(part.size for part in parts)


@settings(max_examples=15)
@given(parts=pieces)
def test_the_top_is_at_least_the_largest_and_less_than_twice_it(parts: list[np.ndarray]) -> None:
    made = histogram(*parts)
    assert made.largest <= made.top < 2 * made.largest or made.top == made.largest == 0


@settings(max_examples=15)
@given(parts=pieces)
def test_every_bin_holds_the_values_that_lie_in_it(parts: list[np.ndarray]) -> None:
    made = histogram(*parts)
    edges = made.top / BINS * np.arange(1, BINS)
    # One value may stand on an edge, and FP32 puts it on either side: 2**-20 of the place is room for its rounding.
    sizes = np.abs(np.concatenate(parts).astype(np.float64))[:, None]
    surely, perhaps = (sizes < edges * (1 - 2.0**-20)).sum(0), (sizes <= edges * (1 + 2.0**-20)).sum(0)
    below = np.cumsum(made.counts)[:-1]
    assert ((surely <= below) & (below <= perhaps)).all()


@settings(max_examples=15)
@given(parts=pieces)
def test_the_percentile_of_pieces_is_within_a_bin_of_the_whole_s(parts: list[np.ndarray]) -> None:
    apart, whole = histogram(*parts), histogram(np.concatenate(parts))
    bin_width = apart.top / BINS  # the wider of the two
    difference = abs(apart.range_by("percentile") - whole.range_by("percentile"))
    assert difference <= 1.001 * bin_width


@settings(max_examples=15)
@given(part=arrays, doublings=st.integers(1, 12))
def test_growing_keeps_what_was_counted(part: np.ndarray, doublings: int) -> None:
    made = histogram(part)
    before, top = made.counts.copy(), made.top
    made.add(np.array([top * 2**doublings], np.float32))
    if top == 0:
        before[0] += 1
        expected = before
    else:
        step = 2 ** min(doublings, 11)
        expected = np.zeros(BINS, np.int64)
        expected[: BINS // step] = before.reshape(-1, step).sum(1)
        expected[-1] += 1
    np.testing.assert_array_equal(made.counts, expected)


def test_memory_does_not_grow_with_what_is_added() -> None:
    made = histogram(*(np.full(1000, 3.0**power, np.float32) for power in range(-20, 20)))
    assert (made.counts.shape, made.counts.dtype) == ((BINS,), np.int64)


@settings(max_examples=15)
@given(parts=pieces)
def test_the_sign_does_not_matter(parts: list[np.ndarray]) -> None:
    made, mirrored = histogram(*parts), histogram(*(-part for part in parts))
    np.testing.assert_array_equal(made.counts, mirrored.counts)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=15)
@given(parts=pieces)
def test_a_range_is_above_0_and_never_above_the_largest_value(method: Method, parts: list[np.ndarray]) -> None:
    made = histogram(*parts)
    assert 0 < made.range_by(method) <= made.largest or made.largest == 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(0,), (5,)])
def test_nothing_but_zeros_has_the_range_0(method: Method, shape: tuple[int, ...]) -> None:
    assert histogram(np.zeros(shape, np.float32)).range_by(method) == 0


@pytest.mark.parametrize("method", METHODS)
def test_a_histogram_that_saw_nothing_has_the_range_0(method: Method) -> None:
    assert Histogram().range_by(method) == 0


@pytest.mark.parametrize("method", METHODS)
def test_one_magnitude_alone_is_kept_to_half_a_step(method: Method) -> None:
    cut = histogram(np.full(1000, -3.0, np.float32)).range_by(method)
    assert cut == pytest.approx(3, rel=0.5 / LEVELS)


def test_zeros_before_the_first_other_value_are_counted_too() -> None:
    made = histogram(np.zeros(7, np.float32), np.array([2.0], np.float32))
    assert (made.counts[0], made.counts[-1]) == (7, 1)


def test_the_range_is_a_plain_float_that_json_can_write() -> None:
    made = histogram(np.random.default_rng(0).normal(size=999).astype(np.float32))
    assert {type(made.range_by(method)) for method in METHODS} == {float}


# What each method cuts


def gaussian(count: int = 200_000) -> np.ndarray:
    return np.random.default_rng(5).normal(size=count).astype(np.float32)


def with_outlier() -> np.ndarray:
    return np.append(gaussian(), np.float32(60))  # 60 standard deviations


def test_minmax_keeps_a_far_outlier() -> None:
    assert histogram(with_outlier()).range_by("minmax") == 60


def test_the_percentile_is_numpy_s_to_a_bin() -> None:
    data = gaussian()
    made = histogram(*np.split(data, 8))
    exact = np.percentile(np.abs(data), PERCENTILE)
    assert 0 <= made.range_by("percentile") - exact <= made.top / BINS


def test_the_percentile_is_onnx_runtime_s_to_two_bins(capsys: pytest.CaptureFixture[str]) -> None:
    calibrate = pytest.importorskip("onnxruntime.quantization.calibrate")
    collector = calibrate.HistogramCollector("percentile", True, BINS, 128, PERCENTILE, "same")
    data = gaussian()
    made = histogram(data)
    collector.collect({"x": data})  # in one piece: over several its FP32 edges drift by three bins
    theirs = float(collector.compute_collection_result()["x"][1])
    capsys.readouterr()  # it prints
    # Ours is the upper edge of the bin, theirs the lower one.
    assert 0 <= made.range_by("percentile") - theirs <= 2 * made.top / BINS


def test_the_percentile_cuts_a_far_outlier() -> None:
    assert 3.5 < histogram(with_outlier()).range_by("percentile") < 4.5  # 99.99 % of a normal distribution: 3.89


def test_entropy_keeps_the_bulk_of_a_normal_distribution() -> None:
    data = gaussian()
    cut = histogram(data).range_by("entropy")
    assert (np.abs(data) <= cut).mean() > 0.999


def test_entropy_cuts_a_far_outlier() -> None:
    cut = histogram(with_outlier()).range_by("entropy")
    assert 3 < cut < 8


def test_entropy_keeps_all_of_an_even_distribution() -> None:
    data = np.random.default_rng(5).uniform(-1, 1, 200_000).astype(np.float32)
    assert histogram(data).range_by("entropy") > 0.98


def squared_error(data: np.ndarray, cut: float) -> float:
    step = cut / LEVELS
    return float(((data - np.clip(np.rint(data / step), -LEVELS, LEVELS) * step) ** 2).mean())


DISTRIBUTIONS = {
    "normal": gaussian(40_000),
    "normal with an outlier": np.append(gaussian(40_000), np.float32(60)),
    "laplace": np.random.default_rng(1).laplace(size=40_000).astype(np.float32),
    "heavy tails": np.random.default_rng(1).standard_t(4, 40_000).astype(np.float32),
    "even": np.random.default_rng(1).uniform(-1, 1, 40_000).astype(np.float32),
    "gelu": np.maximum(gaussian(40_000), -0.17),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_mse_is_within_half_a_percent_of_the_least_error_that_any_cut_has(name: str) -> None:
    data = DISTRIBUTIONS[name].astype(np.float64)
    largest = float(np.abs(data).max())
    # The histogram knows each value to a bin only, a sixteenth of a step or more: 0.5 % is what that costs here at most.
    least = min(squared_error(data, cut) for cut in np.linspace(largest / SMALLEST_CUT, largest, 400))
    assert squared_error(data, histogram(data.astype(np.float32)).range_by("mse")) <= 1.005 * least


def test_mse_gives_a_lone_outlier_up_for_the_resolution_of_many() -> None:
    copies, outlier, rest = 20, 30.0, gaussian(40_000)
    made = histogram(*[rest] * copies, np.float32([outlier]))
    # Where d/dc of n (c / 127)^2 / 12 + (outlier - c)^2 is 0. It is flat there: 10 % beside it cost 0.3 %.
    assert made.range_by("mse") == pytest.approx(outlier / (1 + copies * rest.size / (12 * LEVELS**2)), rel=0.1)
