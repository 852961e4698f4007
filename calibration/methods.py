"""The ways to choose a range from a histogram: what --calib-method offers. calibration/ranges.py computes them."""

from __future__ import annotations

from typing import Literal

Method = Literal["minmax", "percentile", "entropy", "mse"]
