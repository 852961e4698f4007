"""Types of a result's numbers with their ranges: other values, and NaN, cannot be shown in a figure or a table."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

LARGEST = 10**15
Number = Annotated[float, Meta(ge=-LARGEST, le=LARGEST)]
Positive = Annotated[float, Meta(gt=0, le=LARGEST)]
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0, le=LARGEST)]
Scalar = Any  # shown unchanged
