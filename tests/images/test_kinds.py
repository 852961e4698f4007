"""What is a picture, told by its first bytes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit.images.kinds import HEAD_BYTES, KINDS, kind_of

NOISE = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [(".jpg", "JPEG"), (".png", "PNG"), (".bmp", "BMP"), (".webp", "WebP"), (".tiff", "TIFF"), (".ppm", "PNM")],
)
def test_what_opencv_writes_is_recognised(suffix: str, kind: str) -> None:
    found = kind_of(cv2.imencode(suffix, NOISE)[1].tobytes()[:HEAD_BYTES])
    assert found is not None and found.name == kind


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"GIF89a\x01\x00", "GIF"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"\xff\x0a\xfa\x1f", "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"MM\0*\0\0\0\x08", "TIFF"),
    ],
)
def test_kinds_that_not_every_opencv_decodes_are_recognised(head: bytes, kind: str) -> None:
    found = kind_of(head)
    assert found is not None and found.name == kind


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\xff\xd8",
        b"path,label\na.png,cat\n",
        b"BM is how this text begins, and it goes on",
        b"P5-1200 is a power supply",
        b"RIFF\0\0\0\0AVI LIST",
        b"\0\0\0\x20ftypisom\0\0\x02\0",  # a video
        b"\x93NUMPY\x01\x00",
        b"\0\x05\x16\x07\0\x02\0\0Mac OS X",  # what macOS writes beside a picture
    ],
)
def test_what_is_no_picture_is_not_taken_for_one(head: bytes) -> None:
    assert kind_of(head) is None


@given(st.text(st.characters(max_codepoint=127, exclude_characters="\0"), max_size=HEAD_BYTES))
def test_no_ascii_text_is_a_picture_but_a_pnm(text: str) -> None:
    kind = kind_of(text.encode())
    assert kind is None or kind.name in ("PNM", "GIF")  # both begin with letters


def test_no_suffix_stands_for_two_kinds() -> None:
    suffixes = [suffix for kind in KINDS for suffix in kind.suffixes]
    assert len(set(suffixes)) == len(suffixes)
