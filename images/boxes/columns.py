"""Boxes around the labelled objects: the columns x, y, w and h of a CSV.

x, y: the upper left corner, w, h: width and height, in pixels of the original picture as it is shown (upright, with its EXIF
orientation applied). A picture with several boxes has several rows, all with its one label.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ...bundle.errors import ImageError

SPELLINGS = {"x": ("x",), "y": ("y",), "w": ("w", "width"), "h": ("h", "height")}
NUMBER = re.compile(r"[+-]?[0-9]{1,9}(?:\.[0-9]{0,9})?")
MOST_BOXES = 256  # of one picture
CURE = "A box needs x, y, w and h in pixels of the picture; correct the row, or remove the four columns"


@dataclass(frozen=True)
class Box:
    """A box in pixels of the upright picture. line: where it stands in its list."""

    left: float
    top: float
    width: float
    height: float
    line: int


Boxes = tuple[Box, ...]  # of one picture, at least one


def box_columns(words: Sequence[str], where: str) -> tuple[int, ...] | None:
    """The places of x, y, w and h in a header; None for a header that names neither x nor y.

    w and h alone are often a picture's own size. Raises ImageError where one of the four is missing or named twice.
    """
    places = {name: [place for place, word in enumerate(words) if word in SPELLINGS[name]] for name in SPELLINGS}
    if not places["x"] and not places["y"]:
        return None
    for name, found in places.items():
        if len(found) != 1:
            problem = "is missing" if not found else "is named twice"
            raise ImageError(
                f"{where}: the column {name} {problem}. A box needs the columns x, y, w and h; add it, or rename the columns"
                f" if they hold no boxes"
            )
    return tuple(found[0] for found in places.values())


def read_box(cells: Sequence[str], path: str, line: int) -> Box:
    """The box of a row. cells: x, y, w and h. Raises ImageError for what is no box."""
    where = f"{path}, line {line}"
    for name, cell in zip(SPELLINGS, cells, strict=True):
        if not cell:
            raise ImageError(f"{where}: {name} is empty, so this picture has no box. {CURE}")
        if not NUMBER.fullmatch(cell):
            raise ImageError(f"{where}: {name} is {cell[:20]!r}, which is no number such as 12 or 12.5. {CURE}")
    left, top, width, height = map(float, cells)
    box = Box(left, top, width, height, line)
    if box.width <= 0 or box.height <= 0:
        raise ImageError(f"{where}: the box has w = {box.width:g} and h = {box.height:g}; both must be above 0. {CURE}")
    return box
