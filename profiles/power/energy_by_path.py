"""Energy by path: sensors are far slower than an inference, but windows with different exit rates separate the paths.

E = sum over paths of (energy of one image * images on it) + P_idle * t, over windows at several thresholds and idle ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .energy import Amount, student

WORST_CONDITION = 1e6  # of the scaled matrix; beyond it, columns are nearly dependent


@dataclass(frozen=True)
class Row:
    """One window: its mean power, the bound of what the sensor cannot resolve, and how many images took each path.

    session: each one has its own idle power.
    """

    power_mw: float
    bound_mw: float | None
    duration_s: float
    images: Mapping[str, int]
    session: int = 0


@dataclass(frozen=True)
class Paths:
    """mJ of one image on each path above idle, and the first session's idle power in mW.

    residual_mw: root mean square of the fit's residuals.
    reason: why there is no fit; then `mj` is empty.
    """

    mj: Mapping[str, Amount]
    idle_mw: Amount | None
    residual_mw: float
    windows: int
    reason: str | None = None


def fit_paths(rows: Sequence[Row]) -> Paths:
    """Least squares on mean power, since its error does not grow with a window's length; an idle power for every session.

    The interval of each number is Student's 95 % of the residuals plus the largest effect of the sensor's bounds.
    """
    names = sorted({name for row in rows for name, count in row.images.items() if count})
    if not names:
        return Paths({}, None, 0.0, len(rows), "no window with an image")
    sessions = sorted({row.session for row in rows})
    resting = {row.session for row in rows if not any(row.images.values())}
    if resting != set(sessions):
        return Paths({}, None, 0.0, len(rows), "idle power was not measured in every session")
    columns = [[float(row.session == one) for one in sessions] for row in rows]
    fit = _fit(names, rows, np.array(columns))
    if fit is None:
        reason = f"{len(rows)} windows are too few or too alike to separate {', '.join(names)} and idle"
        return Paths({}, None, 0.0, len(rows), reason)
    amounts, residual_mw = fit
    return Paths(dict(zip(names, amounts, strict=False)), amounts[len(names)], residual_mw, len(rows))


def fit_gross(rows: Sequence[Row]) -> Paths:
    """As `fit_paths`, for a run that never rests: a path's energy then includes its share of the idle power."""
    names = sorted({name for row in rows for name, count in row.images.items() if count})
    if not names:
        return Paths({}, None, 0.0, len(rows), "no window with an image")
    fit = _fit(names, rows, np.empty((len(rows), 0)))
    if fit is None:
        reason = f"the windows ({len(rows)}) are too few or too alike to separate {' and '.join(names)}"
        return Paths({}, None, 0.0, len(rows), reason)
    return Paths(dict(zip(names, fit[0], strict=True)), None, fit[1], len(rows))


def _fit(names: Sequence[str], rows: Sequence[Row], more: npt.NDArray[np.float64]) -> tuple[list[Amount], float] | None:
    """Amounts for the rate of images on each path and for the columns `more`, and the residuals' root mean square in mW.

    None where the windows do not separate them.
    """
    paths = np.array([[row.images.get(name, 0) / row.duration_s for name in names] for row in rows])
    rates = np.concatenate([paths, more], axis=1)
    power = np.array([row.power_mw for row in rows])
    scale = np.abs(rates).max(axis=0)
    freedom = len(rows) - rates.shape[1]
    if freedom < 1 or np.linalg.cond(rates / scale) > WORST_CONDITION:
        return None
    inverse = np.linalg.pinv(rates / scale) / scale[:, None]
    found = inverse @ power
    residuals = power - rates @ found
    variance = float(residuals @ residuals) / freedom
    half = student(freedom) * np.sqrt(variance * np.sum(inverse**2, axis=1))
    bounds = [row.bound_mw for row in rows]
    widths: list[float | None] = [None] * len(found)
    if None not in bounds:
        widths = [float(width) for width in half + np.abs(inverse) @ np.array(bounds, dtype=np.float64)]
    amounts = [Amount(float(value), width) for value, width in zip(found, widths, strict=True)]
    return amounts, float(np.sqrt(np.mean(residuals**2)))
