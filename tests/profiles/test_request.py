"""What sacvit-profile may be asked for."""

from __future__ import annotations

import pytest

from sacvit.bundle.errors import UsageError
from sacvit.profiles.request import parse_mode_list, parse_thresholds


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.7", [0.7]),
        ("0.5,0.7", [0.5, 0.7]),
        ("0.4:0.6:0.1", [0.4, 0.5, 0.6]),
        ("0:1:0.5", [0.0, 0.5, 1.0]),
        (".5", [0.5]),
    ],
)
def test_thresholds_are_a_number_a_list_or_a_range(text, values):
    assert parse_thresholds(text) == values


@pytest.mark.parametrize(("text", "expected"), [("0,1,2", [0, 1, 2]), ("2, 0", [2, 0]), ("3", [3])])
def test_a_list_of_modes_keeps_its_order(text, expected):
    assert parse_mode_list(text) == expected


@pytest.mark.parametrize("text", ["", ",", "0,", "0;1", "15W", "-1", "1.0", "0x1", "٣", "0,1,,2", "9999"])
def test_a_list_of_modes_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match="give ids"):
        parse_mode_list(text)


@pytest.mark.parametrize("text", ["0,1,0", "1,01"])
def test_a_mode_that_comes_twice_is_refused(text):
    with pytest.raises(UsageError, match="comes twice"):
        parse_mode_list(text)
