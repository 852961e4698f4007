"""The kinds of pictures, recognised by their first bytes. A new kind is one row and a function that reads its size."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from .headers import Size, avif_size, bmp_size, gif_size, jpeg_size, png_size, pnm_size, tiff_size, webp_size

HEAD_BYTES = 32  # of a file: enough to recognise its kind


@dataclass(frozen=True)
class PictureKind:
    """size: reads (width, height) from a whole file; None for a kind that is recognised but not decoded."""

    name: str
    first_bytes: re.Pattern[bytes]
    suffixes: tuple[str, ...]
    size: Callable[[bytes], Size] | None


def _kind(name: str, first_bytes: bytes, suffixes: str, size: Callable[[bytes], Size] | None) -> PictureKind:
    return PictureKind(name, re.compile(first_bytes, re.DOTALL), tuple(suffixes.split()), size)


KINDS = (
    _kind("JPEG", rb"\xff\xd8\xff", ".jpg .jpeg .jpe .jfif", jpeg_size),
    _kind("PNG", rb"\x89PNG\r\n\x1a\n", ".png", png_size),
    # Two letters alone would match texts too: four bytes that are always 0, and the header's length, are compared as well.
    _kind("BMP", rb"BM.{4}\0{4}.{4}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", ".bmp .dib", bmp_size),
    _kind("WebP", rb"RIFF.{4}WEBPVP8", ".webp", webp_size),
    _kind("TIFF", rb"II[\x2a\x2b]\0|MM\0[\x2a\x2b]", ".tif .tiff", tiff_size),
    _kind("PNM", rb"P[1-6][ \t\r\n]+[#0-9]", ".ppm .pgm .pbm .pnm", pnm_size),
    _kind("GIF", rb"GIF8[79]a", ".gif", gif_size),
    _kind("AVIF", rb".{4}ftypavi[fs]", ".avif", avif_size),
    _kind("HEIC", rb".{4}ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)", ".heic .heif", None),
    _kind("JPEG XL", rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", ".jxl", None),
    _kind("JPEG 2000", rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", ".jp2 .j2k", None),
)
SUFFIXES = tuple(suffix for kind in KINDS for suffix in kind.suffixes)


def kind_of(head: bytes) -> PictureKind | None:
    """The kind of picture that begins with these bytes; None for other files."""
    return next((kind for kind in KINDS if kind.first_bytes.match(head)), None)
