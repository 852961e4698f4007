from __future__ import annotations

import pytest

from sacvit.profiles.reports.amounts import amount_text, is_measurable


@pytest.mark.parametrize(
    ("value", "width", "text"),
    [
        (10.2345, 0.9, "10.23 ± 0.90"),
        (1234.5, 12.0, "1234 ± 12"),
        (0.01234, 0.0012, "0.0123 ± 0.0012"),
        (5.0, 0.0, "5.0000 ± 0.0000"),
        (5.0, None, "5 ± ?"),
    ],
)
def test_an_amount_has_as_many_digits_as_its_error_allows(value, width, text):
    assert amount_text({"value": value, "plus_minus": width}) == text


@pytest.mark.parametrize("value", [0.4, -0.4, 0.5, 0.0])
def test_an_amount_that_is_smaller_than_its_error_is_not_measurable(value):
    amount = {"value": value, "plus_minus": 0.5}
    assert not is_measurable(amount) and amount_text(amount) == "not measurable"
    assert amount_text(amount, "mJ") == "not measurable (smaller than its error of 0.50 mJ)"


def test_an_amount_of_unknown_error_is_shown():
    assert is_measurable({"value": 0.1, "plus_minus": None})


def test_a_missing_amount_is_null():
    assert amount_text(None) == "null" and not is_measurable(None)
