"""Boxes must lie inside their pictures: this is checked before the first pass, by the pictures' headers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...bundle.errors import ImageError
from ..decode import MAX_PICTURE_BYTES, decode_picture, picture_size, read_file
from .columns import CURE, Boxes

SLACK = 1.0  # pixels: tools for annotation round, and count the last pixel in or out
UNTURNED = frozenset(["JPEG", "PNG", "BMP", "WebP", "PNM"])  # their headers give the upright size unless they have EXIF
EXIF = (b"Exif\0", b"eXIf", b"EXIF")  # as JPEG, PNG and WebP mark it


def require_inside(source: str, home: Path, names: Sequence[str], boxes: Sequence[Boxes]) -> None:
    """Raises ImageError for the first box that reaches out of its picture. Pictures that cannot be read are passed over: the
    caller reports them."""
    for name, found in zip(names, boxes, strict=True):
        try:
            width, height = _upright_size(home / name)
        except ImageError:
            continue
        for box in found:
            right, bottom = box.left + box.width, box.top + box.height
            if min(box.left, box.top) < -SLACK or right > width + SLACK or bottom > height + SLACK:
                raise ImageError(
                    f"{source}, line {box.line}: the box from ({box.left:g}, {box.top:g}) to ({right:g}, {bottom:g}) reaches"
                    f" out of {name}, which has {width} x {height} pixels. {CURE}"
                )


def _upright_size(path: Path) -> tuple[int, int]:
    """(width, height) as the picture is decoded. Only where its orientation may turn it is it decoded here."""
    content = read_file(path, MAX_PICTURE_BYTES)
    kind, size = picture_size(content, str(path))
    if kind in UNTURNED and not any(mark in content for mark in EXIF):
        return size
    height, width = decode_picture(content, str(path)).shape[:2]
    return width, height
