"""An energy as text, with as many digits as its error allows; one that is smaller than its error is not measurable."""

from __future__ import annotations

from typing import TypeGuard

from ..results.profile_shape import Amount

NOT_MEASURABLE = "not measurable"


def is_measurable(amount: Amount | None) -> TypeGuard[Amount]:
    """False for a value that is missing or smaller than its error."""
    return amount is not None and (amount["plus_minus"] is None or abs(amount["value"]) > amount["plus_minus"])


def amount_text(amount: Amount | None, unit: str = "") -> str:
    """The value and its error, with the unit if one is given.

    A question mark stands for an unknown error, as of a single window or of a sensor with unknown steps.
    """
    if amount is None:
        return "null"
    value, error, after = amount["value"], amount["plus_minus"], f" {unit}" if unit else ""
    if error is None:
        return f"{value:.4g} ± ?{after}"
    width = f"{error:.{_digits(error)}f}{after}"
    if not is_measurable(amount):
        return f"{NOT_MEASURABLE} (smaller than its error of {width})" if unit else NOT_MEASURABLE
    return f"{value:.{_digits(error)}f} ± {width}"


def _digits(error: float) -> int:
    """The number of decimals that shows two digits of the error."""
    if error <= 0:
        return 4
    magnitude = int(f"{error:e}".partition("e")[2])
    return min(max(0, 1 - magnitude), 6)
