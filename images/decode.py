"""Pictures from disk: untrusted files in, BGR arrays out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..bundle.errors import ImageError
from ..bundle.preprocess import ImageU8

MAX_PICTURE_BYTES = 256 << 20
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


def pictures_below(folder: Path) -> list[Path]:
    """The pictures in a folder and its folders, by their suffixes, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def class_folders(folder: Path) -> list[Path]:
    """The folders of the classes, one each, sorted by name; hidden ones are passed over."""
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def read_picture(path: Path) -> ImageU8:
    """The picture in a file, as `decode_picture` gives it. Raises ImageError, also for what is not readable."""
    try:
        if path.stat().st_size > MAX_PICTURE_BYTES:
            raise ImageError(f"{path} has {path.stat().st_size >> 20} MiB; the limit is {MAX_PICTURE_BYTES >> 20} MiB")
        content = path.read_bytes()
    except OSError as reason:
        raise ImageError(f"{path} is not readable: {reason.strerror or reason}") from None
    return decode_picture(content, str(path))


def decode_picture(content: bytes, name: str) -> ImageU8:
    """A picture as (H, W, 3) uint8 BGR; grey and 16-bit ones are converted, alpha is dropped, EXIF turns it upright.

    name: what a message calls it. Raises ImageError, with the reason, for what is no picture, is cut short, or is too large.
    """
    import cv2

    if not content:
        raise ImageError(f"{name} is empty")
    if content.startswith(b"\xff\xd8") and content.find(b"\xff\xd9", first_scan(content)) < 0:
        raise ImageError(f"{name} is a JPEG that was cut short: it has no end marker")  # OpenCV would give a grey rest
    try:
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as reason:
        raise ImageError(f"{name} cannot be decoded: {str(reason).strip().splitlines()[-1]}") from None
    if picture is None:
        raise ImageError(f"{name} is no picture that OpenCV can decode, or is damaged")
    return picture  # type: ignore[return-value]  # uint8: IMREAD_COLOR without ANYDEPTH


def first_scan(jpeg: bytes) -> int:
    """Where the picture's own data begins, behind all headers: an embedded thumbnail has end markers of its own."""
    place = 2
    while jpeg[place : place + 1] == b"\xff" and (kind := jpeg[place + 1 : place + 2]) not in (b"\xda", b""):
        # A second FF is a fill byte; any other marker carries its length.
        place += 1 if kind == b"\xff" else 2 + int.from_bytes(jpeg[place + 2 : place + 4], "big")
    return place
