from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit.profiles.power.energy_by_path import Row, fit_gross, fit_paths


def rows(exit_mj, full_mj, idle_mw, rates, noise_mw=0.0, seed=0, bound_mw=0.0, plain_mj=None):
    """Windows of 10 s at some exit rates, and two idle ones. An exit takes 2 ms, the full path 5 ms."""
    rng, made = np.random.default_rng(seed), []
    for rate in rates:
        images = round(10_000 / (2 * rate + 5 * (1 - rate)))
        counts = {"exit": round(rate * images), "full": images - round(rate * images)}
        energy = exit_mj * counts["exit"] + full_mj * counts["full"] + 10 * idle_mw
        made.append(Row(energy / 10 + rng.normal(0, noise_mw), bound_mw, 10.0, counts))
    if plain_mj is not None:
        made.append(Row(idle_mw + plain_mj * 200, bound_mw, 10.0, {"plain": 2000}))
        made.append(Row(idle_mw + plain_mj * 200, bound_mw, 10.0, {"plain": 2000}))
    return made + [Row(idle_mw + rng.normal(0, noise_mw), bound_mw, 10.0, {}) for _ in range(2)]


def test_known_energies_are_recovered_exactly_without_noise():
    found = fit_paths(rows(3.0, 11.0, 4500.0, [0.0, 0.5, 1.0]))
    assert found.mj["exit"].value == pytest.approx(3.0) and found.mj["full"].value == pytest.approx(11.0)
    assert found.idle_mw is not None and found.idle_mw.value == pytest.approx(4500.0)


@given(
    exit_mj=st.floats(0.5, 20), ratio=st.floats(1.2, 6), idle_mw=st.floats(500, 20000), offset=st.floats(-20, 20),
)  # fmt: skip
def test_a_bias_within_the_sensor_s_bound_stays_within_the_interval(exit_mj, ratio, idle_mw, offset):
    """Every window off by the same: what steps do to a flat signal."""
    made = [
        Row(row.power_mw + offset, 20.0, row.duration_s, row.images)
        for row in rows(exit_mj, ratio * exit_mj, idle_mw, [0.0, 0.3, 0.7, 1.0] * 3)
    ]
    found = fit_paths(made)
    for path, truth in (("exit", exit_mj), ("full", ratio * exit_mj)):
        assert abs(found.mj[path].value - truth) <= found.mj[path].plus_minus + 1e-9


def test_95_of_100_intervals_hold_the_truth_under_noise():
    """Binomial: of 200, fewer than 180 come with a probability below 0.2 %."""
    held = 0
    for seed in range(200):
        found = fit_paths(rows(3.0, 11.0, 4500.0, [0.0, 0.4, 1.0] * 3, noise_mw=50.0, seed=seed))
        held += abs(found.mj["full"].value - 11.0) <= found.mj["full"].plus_minus
    assert 180 <= held < 200


def test_the_plain_vit_is_a_path_of_its_own():
    found = fit_paths(rows(3.0, 11.0, 4500.0, [0.0, 1.0], plain_mj=8.0))
    assert found.mj["plain"].value == pytest.approx(8.0)


def test_windows_at_one_exit_rate_are_refused():
    found = fit_paths(rows(3.0, 11.0, 4500.0, [0.5, 0.5, 0.5]))
    assert not found.mj and found.reason == "5 windows are too few or too alike to separate exit, full and idle"


def test_without_idle_windows_time_and_images_say_the_same_and_are_refused():
    made = [row for row in rows(3.0, 11.0, 4500.0, [0.0, 0.0, 0.5, 0.5, 1.0, 1.0]) if row.images]
    assert fit_paths(made).reason == "idle power was not measured in every session"


def test_a_session_has_an_idle_power_of_its_own():
    first = rows(3.0, 11.0, 4500.0, [0.0, 0.5, 1.0])
    second = [replace(row, session=1) for row in rows(3.0, 11.0, 5500.0, [0.0, 0.5, 1.0])]
    found = fit_paths(first + second)
    assert found.mj["exit"].value == pytest.approx(3.0) and found.mj["full"].value == pytest.approx(11.0)
    assert fit_paths(first + [row for row in second if row.images]).reason is not None


def test_an_unknown_step_leaves_the_intervals_open():
    made = rows(3.0, 11.0, 4500.0, [0.0, 0.5, 1.0])
    found = fit_paths([*made[:-1], replace(made[-1], bound_mw=None)])
    assert found.mj["exit"].value == pytest.approx(3.0) and found.mj["exit"].plus_minus is None


def test_as_many_windows_as_unknowns_leave_no_interval_and_are_refused():
    assert fit_paths(rows(3.0, 11.0, 4500.0, [0.0, 1.0])[:3]).reason is not None


def test_no_image_at_all_is_told():
    assert fit_paths([Row(1.0, 0.0, 10.0, {})] * 4).reason == "no window with an image"


def busy_rows(exit_mj, full_mj, rates, bound_mw=0.0):
    """Windows of 10 s without a pause: an exit takes 2 ms, the full path 5 ms."""
    made = []
    for rate in rates:
        images = round(10_000 / (2 * rate + 5 * (1 - rate)))
        counts = {"exit": round(rate * images), "full": images - round(rate * images)}
        made.append(Row((exit_mj * counts["exit"] + full_mj * counts["full"]) / 10, bound_mw, 10.0, counts))
    return made


def test_windows_without_a_rest_give_the_energy_of_paths_with_idle_power():
    found = fit_gross(busy_rows(12.0, 40.0, [0.2, 0.5, 0.8]))
    assert found.mj["exit"].value == pytest.approx(12.0) and found.mj["full"].value == pytest.approx(40.0)
    assert found.idle_mw is None and found.reason is None


def test_a_run_of_one_path_has_the_energy_of_that_path():
    found = fit_gross(busy_rows(12.0, 40.0, [1.0, 1.0, 1.0]))
    assert list(found.mj) == ["exit"] and found.mj["exit"].value == pytest.approx(12.0)


def test_two_windows_are_too_few_to_separate_two_paths():
    assert "too few or too alike to separate exit and full" in fit_gross(busy_rows(12.0, 40.0, [0.2, 0.8])).reason


def test_windows_that_are_alike_separate_no_paths():
    assert fit_gross(busy_rows(12.0, 40.0, [0.5] * 8)).reason is not None
