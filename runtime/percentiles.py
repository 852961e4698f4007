"""Median and percentiles of latencies, as trtexec counts them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from statistics import median

PERCENTILES = (90, 95, 99)


def percentile(values: Sequence[float], percent: float) -> float:
    """trtexec's percentile: the value at index n - 1 - floor((100 - percent) * n / 100) of the sorted values.

    No interpolation. The product is rounded first, so that 10 % of 10 values is 1 and not 0.9999.
    """
    ordered = sorted(values)
    left_out = int(round((100 - percent) * len(ordered) / 100, 9))
    return ordered[max(len(ordered) - 1 - left_out, 0)]


def summarise(values: Collection[float]) -> dict[str, float | int]:
    """n, median and percentiles in milliseconds; n alone when there are no values."""
    if not values:
        return {"n": 0}
    ordered = sorted(values)
    named = {f"p{percent}_ms": round(percentile(ordered, percent), 3) for percent in PERCENTILES}
    return {"n": len(values), "median_ms": round(median(ordered), 3), **named}
