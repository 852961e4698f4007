"""Sizes in headers: those that a decoder finds, and no crash on any bytes."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit.images.headers import plain_png, png_size
from sacvit.images.kinds import KINDS, kind_of

SUFFIXES = [".jpg", ".png", ".bmp", ".webp", ".tiff", ".ppm", ".pgm"]
SIDES = st.integers(1, 80)


def encoded(height: int, width: int, suffix: str, *options: int) -> bytes:
    shown = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.imencode(suffix, shown if suffix != ".pgm" else shown[..., 0], list(options))[1].tobytes()


def size_in(file: bytes) -> tuple[int, int]:
    kind = kind_of(file)
    assert kind is not None and kind.size is not None
    return kind.size(file)


@given(SIDES, SIDES, st.sampled_from(SUFFIXES))
def test_the_size_in_the_header_is_the_size_of_the_picture(height: int, width: int, suffix: str) -> None:
    assert size_in(encoded(height, width, suffix)) == (width, height)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".jpg", (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)),
        (".jpg", (cv2.IMWRITE_JPEG_RST_INTERVAL, 2)),
        (".webp", (cv2.IMWRITE_WEBP_QUALITY, 30)),  # with losses: another chunk than without
        (".ppm", (cv2.IMWRITE_PXM_BINARY, 0)),
    ],
)
def test_variants_of_a_kind_give_their_size(suffix: str, options: tuple[int, ...]) -> None:
    assert size_in(encoded(30, 50, suffix, *options)) == (50, 30)


@pytest.mark.parametrize("suffix", [".gif", ".avif"])
def test_kinds_that_some_opencv_writes_give_their_size(suffix: str) -> None:
    try:
        file = encoded(30, 50, suffix)
    except cv2.error:
        pytest.skip(f"this OpenCV writes no {suffix}")
    assert size_in(file) == (50, 30)


@pytest.mark.parametrize(("compression", "name"), [(None, "small.tif"), ("webp", "a.webp"), ("bigtiff", "big.tif")])
def test_what_pillow_writes_gives_its_size(compression: str | None, name: str, tmp_path) -> None:
    image = pytest.importorskip("PIL.Image")  # absent on a device
    made = image.new("RGBA", (50, 30), (1, 2, 3, 4))
    made.save(tmp_path / name, **({"big_tiff": True} if compression == "bigtiff" else {}))
    assert size_in((tmp_path / name).read_bytes()) == (50, 30)


@given(
    st.sampled_from([encoded(40, 30, suffix) for suffix in SUFFIXES]),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=8),
    st.integers(0, 3000),
)
def test_no_changed_or_cut_file_breaks_the_reading_of_its_header(
    file: bytes, changes: list[tuple[int, int]], keep: int
) -> None:
    changed = bytearray(file)
    for place, value in changes:
        changed[place % len(changed)] = value
    for kind in KINDS:
        if kind.size is not None:
            try:
                width, height = kind.size(bytes(changed[:keep]))
                assert width >= 0 and height >= 0
            except (ValueError, IndexError, OverflowError, struct.error):
                pass


@pytest.mark.parametrize("marker", [0x00, 0x01, 0xD0, 0xD7])
def test_a_marker_without_a_length_cannot_hide_the_size(marker: int) -> None:
    """Who reads a length behind it jumps, here to a smaller size that stands in a comment."""
    file = encoded(40, 30, ".jpg")
    small = b"\xff\xc0\x00\x11\x08\x00\x08\x00\x08" + bytes(10) + b"\xff\xda" + bytes(100)
    comments = b"\xff\xff\xfe" + (40_000).to_bytes(2, "big") + bytes(39_998)
    rest = 4 + 0xFFFF - len(comments) - 4 - 4  # from the second comment's data to where the jump ends
    comments += b"\xff\xfe" + (2 + rest + len(small)).to_bytes(2, "big") + bytes(rest) + small
    file = b"\xff\xd8\xff" + bytes([marker]) + comments + file[2:]
    assert cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR).shape == (40, 30, 3)
    assert size_in(file) == (30, 40)


@pytest.mark.parametrize("claim", [200, 0x7FFFFFF0, 0xFFFFFFFF])
def test_a_png_chunk_that_is_longer_than_the_file_is_refused(claim: int) -> None:
    """A decoder makes room for it: gigabytes for 61 bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0))
    with pytest.raises(ValueError, match="a chunk is longer than the file"):
        png_size(b"\x89PNG\r\n\x1a\n" + header + struct.pack(">I", claim) + b"IDAT" + b"x" * 20)


def png_of(*kinds: bytes) -> bytes:
    """Chunks of 13 bytes each, as IHDR has."""
    body = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", 13) + kind + body + bytes(4) for kind in kinds)


def test_what_a_still_picture_does_not_need_is_left_out_of_a_png() -> None:
    file = png_of(b"IHDR", b"acTL", b"iCCP", b"PLTE", b"tRNS", b"fcTL", b"IDAT", b"IDAT", b"fdAT", b"eXIf", b"IEND")
    kept = png_of(b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IDAT", b"eXIf", b"IEND")
    assert plain_png(file + b"behind it") == kept


@pytest.mark.parametrize("kinds", [(b"IHDR", b"IEND"), (b"IDAT", b"IEND"), (b"IHDR", b"IHDR", b"IDAT", b"IEND")])
def test_a_png_without_one_header_and_a_picture_is_refused(kinds: tuple[bytes, ...]) -> None:
    """OpenCV 4.11 reads behind the end of a file that has no picture, and takes what it finds there for a length."""
    with pytest.raises(ValueError, match="without a"):
        png_size(png_of(*kinds))


PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR" + struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0) + bytes(4)
BIG_TIFF = b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, 1 << 40)
MANY = 70_000


@pytest.mark.parametrize(
    "file",
    [
        PNG_START + b"\0\0\0\0tEXt\0\0\0\0" * MANY,
        b"\xff\xd8\xff" + b"\xd0\xff" * MANY,
        BIG_TIFF + bytes(20 * MANY),
        b"\0\0\0\x0cftypavif" + struct.pack(">I", 8 * MANY) + b"meta" + b"ispe" * MANY,
    ],
)
def test_a_header_of_more_parts_than_any_picture_has_is_given_up(file: bytes) -> None:
    """A file of 64 MB can hold so many that reading them takes a minute, in which a server answers nobody."""
    with pytest.raises(ValueError, match="more than 65536"):
        size_in(file)


def test_fill_bytes_before_a_marker_are_skipped_at_once() -> None:
    """Any number of them is allowed; one by one in Python, 60 million take seconds."""
    file = encoded(40, 30, ".jpg")
    assert size_in(b"\xff\xd8" + b"\xff" * 1_000_000 + file[2:]) == (30, 40)
