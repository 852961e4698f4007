"""Labelled images: what sacvit-tune fits a threshold on and reports on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..bundle.errors import ImageError
from ..bundle.preprocess import ImageU8
from .arrays import Labels
from .boxes.columns import Boxes
from .boxes.inside import require_inside
from .data_set import open_data_set


@dataclass(frozen=True)
class Labelled:
    """`count` images, each with a name and a label, and perhaps with boxes: see `DataSet`, which it comes from."""

    source: str
    home: Path
    names: Sequence[str]
    labels: Labels
    key: str
    read: Callable[[int], ImageU8]
    boxes: Sequence[Boxes] | None = None

    @property
    def count(self) -> int:
        return len(self.names)


def open_labelled(path: Path, classes: int, class_names: Sequence[str] | None, option: str = "--data") -> Labelled:
    """The images at a path. Raises ImageError if there are fewer than two, one is listed twice, labels do not fit the model, or
    a box reaches out of its picture."""
    found = open_data_set(path, option, classes, class_names)
    if found.labels is None:
        raise ImageError(f"{found.why_unlabelled}. Labels are needed here")
    if len(found) < 2:
        raise ImageError(f"{option} {path} holds {len(found)} images: one half is fitted on, the other reported")
    name, times = Counter(found.names).most_common(1)[0]
    if times > 1:
        raise ImageError(f"{option} {path}: {name} is listed twice; remove one: it could be fitted and reported on")
    if found.boxes is not None:
        require_inside(found.source, found.home, found.names, found.boxes)
    return Labelled(found.source, found.home, found.names, found.labels, found.key(), found.read, found.boxes)
