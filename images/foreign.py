"""Files in the place of a picture or a checkpoint: web pages, pointers of Git LFS, packed files; each with its cure.

A failed download or an incomplete clone leaves them there.
"""

from __future__ import annotations

import re

HEAD_BYTES = 512  # of a file: enough to recognise these kinds
MAX_WORDS = 60
WEB_PAGE = re.compile(rb"\s*(<!doctype html|<html|<head|<\?xml)", re.IGNORECASE)
DRAWING = re.compile(rb"\s*(<\?xml.*)?<svg", re.IGNORECASE | re.DOTALL)
# First bytes, what the file is, what to do.
BEGINNINGS: tuple[tuple[bytes, str, str], ...] = (
    (
        b"version https://git-lfs.github.com/spec/",
        "a Git LFS pointer, which stands in the repository in place of the file",
        "Fetch the file: git lfs install && git lfs pull",
    ),
    (b"\x1f\x8b", "compressed with gzip", "Unpack it: gzip -d, or tar xzf if it is an archive"),
    (b"BZh", "compressed with bzip2", "Unpack it with bzip2 -d"),
    (b"\xfd7zXZ\x00", "compressed with xz", "Unpack it with xz -d"),
    (b"\x28\xb5\x2f\xfd", "compressed with Zstandard", "Unpack it with zstd -d"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "Unpack it"),
    (b"Rar!\x1a\x07", "a RAR archive", "Unpack it"),
    (b"%PDF-", "a PDF document", "Give the file itself"),
)


def describe_foreign(head: bytes) -> tuple[str, str] | None:
    """For a file with this beginning: the end of a sentence that starts with its name, and the cure. None for other files."""
    if DRAWING.match(head.removeprefix(b"\xef\xbb\xbf")):
        return "an SVG drawing", "Draw it as pixels: rsvg-convert FILE.svg -o FILE.png"
    if WEB_PAGE.match(head.removeprefix(b"\xef\xbb\xbf")):
        title = re.search(rb"<title>([^<]{1,200})", head, re.IGNORECASE)
        named = f" ({printable(title[1])})" if title else ""
        return (
            f"a web page{named}",
            "The download was redirected, for example to a login or to Google Drive's virus warning. Download the file itself"
            " and compare its size with the one on the page",
        )
    return next(((kind, cure) for beginning, kind, cure in BEGINNINGS if head.startswith(beginning)), None)


def printable(text: bytes) -> str:
    """The first words of an untrusted file, made safe for a terminal."""
    words = " ".join(text.decode("utf-8", "replace").split())[:MAX_WORDS]
    return "".join(letter if letter.isprintable() else "?" for letter in words)
