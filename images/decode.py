"""Pictures from disk or from a client: untrusted files in, BGR arrays out.

The kind, the size in pixels and the lengths of a PNG's chunks are checked before a decoder gets the file.
"""

from __future__ import annotations

import codecs
import stat
import struct
from pathlib import Path

import numpy as np

from ..bundle.errors import ImageError
from ..bundle.preprocess import ImageU8
from .foreign import HEAD_BYTES as FOREIGN_BYTES
from .foreign import describe_foreign
from .headers import Size, plain_png
from .kinds import HEAD_BYTES, kind_of

MAX_PICTURE_BYTES = 256 << 20
MAX_PIXELS = 1 << 28  # of one picture: 0.8 GB when decoded
CURE = "Convert it, for example to PNG: ffmpeg -i FILE FILE.png"


def read_picture(path: Path) -> ImageU8:
    """The picture in a file, as `decode_picture` gives it. Raises ImageError, also for what is not readable."""
    return decode_picture(read_file(path, MAX_PICTURE_BYTES), str(path))


def read_file(path: Path, most_bytes: int) -> bytes:
    """The content of a regular file. Raises ImageError for anything else: a pipe or a device may never end."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ImageError(f"{path} is {'a folder' if stat.S_ISDIR(found.st_mode) else 'no regular file'}")
        if found.st_size > most_bytes:
            raise ImageError(f"{path} has {found.st_size >> 20} MiB; the limit is {most_bytes >> 20} MiB")
        with path.open("rb") as file:
            return file.read(found.st_size)
    except (OSError, ValueError) as reason:  # ValueError: a name with a zero byte
        raise ImageError(f"{path} is not readable: {getattr(reason, 'strerror', None) or reason}") from None


def decode_text(content: bytes) -> str:
    """A text in UTF-8 with or without a byte order mark, or in UTF-16 with one. Raises UnicodeDecodeError."""
    is_utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if is_utf_16 else "utf-8-sig")


def picture_size(content: bytes, name: str) -> tuple[str, Size]:
    """The kind of a picture and its (width, height), read from its header without decoding.

    name: of the picture, for messages. Raises ImageError for a file that is no picture, is cut short, or cannot be decoded by
    any OpenCV.
    """
    if not content:
        raise ImageError(f"{name} is empty")
    kind = kind_of(content[:HEAD_BYTES])
    if kind is None:
        foreign = describe_foreign(content[:FOREIGN_BYTES])
        raise ImageError(
            f"{name} is no picture" if foreign is None else f"{name} is {foreign[0]}, no picture. {foreign[1]}"
        )
    if kind.size is None:
        raise ImageError(f"{name} is a {kind.name} picture, which cannot be decoded here. {CURE}")
    try:
        width, height = kind.size(content)
    except (IndexError, OverflowError, struct.error):
        raise ImageError(f"{name} is a {kind.name} picture that was cut short: its header is not complete") from None
    except ValueError as reason:
        raise ImageError(f"{name} {reason}") from None
    if not width * height:
        raise ImageError(f"{name} is a {kind.name} picture without pixels: {width} x {height}")
    return kind.name, (width, height)


def decode_picture(content: bytes, name: str) -> ImageU8:
    """A picture as (H, W, 3) uint8 BGR; grey and 16-bit ones are converted, alpha is dropped, EXIF turns it upright.

    name: of the picture, for messages. Raises ImageError with the reason for a file that is no picture, is cut short, or is too
    large.
    """
    import cv2

    kind, (width, height) = picture_size(content, name)
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{name} has {width} x {height} pixels; the limit is {MAX_PIXELS >> 20} Mi. Scale it down first"
        )
    if kind == "PNG":
        content = plain_png(content)
    try:
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as reason:
        raise ImageError(f"{name} cannot be decoded: {str(reason).strip().splitlines()[-1]}") from None
    if picture is None:
        raise ImageError(f"{name} is a {kind} picture that is damaged, or that this OpenCV cannot decode. {CURE}")
    return picture  # type: ignore[return-value]  # uint8: IMREAD_COLOR without ANYDEPTH
