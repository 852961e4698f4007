from __future__ import annotations

import pytest

from sacvit.profiles.reports.comparison import compare_lines


def profile(throughput, half, gross=(10.0, 1.0)):
    """A run of one contender: its rate, how far the rounds differ (relative), and mJ per image with its half-width."""
    times = dict.fromkeys(("median_ms", "mean_ms", "p99_ms"), 1000.0 / throughput)
    energy = {"total": {"gross": {"value": gross[0], "plus_minus": gross[1]}, "above_idle": None, "mean_mw": 1.0}}
    contender = {
        "throughput": throughput, "ms_per_image": 1e3 / throughput, "threshold": None, "exit_rate": None,
        "ms_per_image_plus_minus": None if half is None else half * 1e3 / throughput,
        "paths_ms": {"all": {"n": 10, **times}}, "energy": {"mj_per_image": energy, "reason": None},
    }  # fmt: skip
    mode = {
        "mode": None, "state": None, "power": {"source": "a sensor"}, "changes": [], "contenders": {"always exit": contender},
        "paths_mj": None,
    }  # fmt: skip
    return {"modes": [mode]}


def row(lines, name):
    (line,) = [line for line in lines if line.startswith(name)]
    return line


@pytest.mark.parametrize(
    ("throughput", "half", "words"),
    [
        (103.0, 0.02, "within ± 4.0%    1.030"),
        (120.0, 0.02, "        ± 4.0%    1.200"),
        (103.0, None, "                  1.030"),
    ],
)
def test_the_spread_of_both_runs_stands_beside_their_ratio(throughput, half, words):
    lines = compare_lines(profile(100.0, 0.02), profile(throughput, half))
    assert words in row(lines, "always exit: throughput")


def test_energies_are_held_to_their_half_widths():
    lines = compare_lines(profile(100.0, 0.02), profile(100.0, 0.02, (11.0, 1.1)))
    assert "within ± 20.0%    1.100" in row(lines, "always exit: total, gross")


def test_percentiles_have_no_spread():
    assert "±" not in row(compare_lines(profile(100.0, 0.02), profile(103.0, 0.02)), "always exit: p99")


@pytest.mark.parametrize(
    ("value", "text"), [(11.6, "11.60"), (0.77099, "0.7710"), (999.96, "1000"), (25231.4, "25231")]
)
def test_numbers_have_four_digits_or_all_before_the_point(value, text):
    lines = compare_lines(profile(value, 1.0), profile(value, 1.0))
    assert row(lines, "always exit: throughput").count(f" {text} ") == 2
