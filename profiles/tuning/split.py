"""Chooses the images to fit on and to report on, and reports problems of the choice before the first pass."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from ...bundle.errors import UsageError
from ...images.labelled import Labelled

Bools = npt.NDArray[np.bool_]
FITTED, REPORTED = "fitted on", "reported on"


def fit_half(data: Labelled) -> Bools:
    """The images that eta is fitted on: half of them by a hash of their names, so that adding or removing images moves no
    other."""
    return np.array([hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[0] < 128 for name in data.names])


def split(sets: Sequence[Labelled]) -> tuple[Bools, Bools]:
    """Masks of the images that are fitted on, over the first set, and of those that are reported on, over the last.

    One set is split into two parts, two sets are taken whole. Raises UsageError for an empty part, and where an image would be
    in both.
    """
    if len(sets) == 1:
        fitted = fit_half(sets[0])
        reported = ~fitted
        for mask, half in ((fitted, FITTED), (reported, REPORTED)):
            if not mask.any():
                raise UsageError(
                    f"--data {sets[0].source}: images are split by a hash of their names, and none of {sets[0].count}"
                    f" falls into the split that is {half}. Give more images, or --report-data"
                )
        return fitted, reported
    both = {one.home / name for one in sets[:1] for name in one.names} & {sets[1].home / name for name in sets[1].names}
    if both:
        raise UsageError(
            f"--report-data {sets[1].source}: {len(both)} of its images are in --data too, {min(both)} first; in both they"
            f" would be fitted and reported on. Leave --report-data out to halve --data, or give other images"
        )
    return np.ones(sets[0].count, np.bool_), np.ones(sets[1].count, np.bool_)


def gap_lines(
    sets: Sequence[Labelled], fitted: Bools, reported: Bools, classes: int, names: Sequence[str] | None
) -> Iterator[str]:
    """A line for each part that lacks classes. This is no error, since a model may have more classes than a data set."""

    def called(index: int) -> str:
        return names[index] if names is not None else str(index)

    for data, mask, half in ((sets[0], fitted, FITTED), (sets[-1], reported, REPORTED)):
        missing = np.flatnonzero(np.bincount(data.labels[mask], minlength=classes) == 0)
        if len(missing):
            shown = ", ".join(called(int(index)) for index in missing[:3])
            yield (
                f"{data.source}: of the {int(mask.sum())} images that are {half} none is of {len(missing)} of the model's"
                f" {classes} classes: {shown}{' ...' if len(missing) > 3 else ''}. Nothing is known of these"
            )
