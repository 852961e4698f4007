"""Numbers outside their bounds are refused wherever the options come from."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from sacvit.bundle.errors import UsageError
from sacvit.runtime.bounds import Bounded, read_shares


@dataclass(frozen=True)
class Example(Bounded):
    share: float = field(default=0.5, metadata={"least": 0, "most": 1})
    limit_s: float | None = field(default=None, metadata={"above": 0})
    free: float = 0.0


@pytest.mark.parametrize("values", [{"share": 0.0, "limit_s": 1e-9}, {"share": 1.0}, {"free": -5.0}])
def test_what_keeps_its_bounds_is_taken(values: dict[str, float]) -> None:
    Example(**values)


@pytest.mark.parametrize(
    "values", [{"share": -0.1}, {"share": 1.1}, {"share": float("nan")}, {"limit_s": 0.0}, {"limit_s": float("inf")}]
)
def test_what_does_not_is_refused_by_its_option(values: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=f"--{next(iter(values)).replace('_', '-')} must be "):
        Example(**values)


@pytest.mark.parametrize("text", ["", "0.5,", "0,0.5", "0.5,1.1", "nan", "0.5,0.50", "half"])
def test_shares_are_different_and_in_their_range(text):
    with pytest.raises(UsageError, match=r"as in 0\.25,0\.75"):
        read_shares(text)
    assert read_shares("0.25,1") == (0.25, 1.0)
