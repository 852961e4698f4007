"""Pictures are untrusted files: every kind that people have is read, and every damaged one is refused with a reason."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from sacvit.bundle.errors import ImageError
from sacvit.images import decode as pictures
from sacvit.images.decode import read_picture

JPEG_TOLERANCE = 16  # grey levels: OpenCV's quality 95 with halved colour, on edges between full colours


@pytest.fixture
def colours() -> np.ndarray:
    """(30, 40, 3) uint8 BGR, smooth, no two corners alike."""
    corners = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [200, 200, 40]]], np.uint8)
    return cv2.resize(corners, (40, 30))


def encoded(picture: np.ndarray, suffix: str) -> bytes:
    return cv2.imencode(suffix, picture)[1].tobytes()


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def png_that_announces(width: int, height: int) -> bytes:
    """A PNG whose header is in order and whose pixels are missing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """The JPEG with an EXIF block that says how the camera was held."""
    tiff = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, 3, 1, orientation, 0)
    body = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".ppm"])
def test_a_lossless_picture_comes_back_as_it_was(tmp_path: Path, colours: np.ndarray, suffix: str) -> None:
    path = written(tmp_path, f"a{suffix}", encoded(colours, suffix))
    np.testing.assert_array_equal(read_picture(path), colours)


def test_a_jpeg_comes_back_within_its_compression(tmp_path: Path, colours: np.ndarray) -> None:
    read = read_picture(written(tmp_path, "a.jpg", encoded(colours, ".jpg")))
    np.testing.assert_allclose(read.astype(int), colours.astype(int), atol=JPEG_TOLERANCE)


def test_the_content_counts_and_not_the_suffix(tmp_path: Path, colours: np.ndarray) -> None:
    np.testing.assert_array_equal(read_picture(written(tmp_path, "a.jpg", encoded(colours, ".png"))), colours)


def test_a_grey_picture_gets_three_equal_channels(tmp_path: Path, colours: np.ndarray) -> None:
    grey = colours[..., 1].copy()
    read = read_picture(written(tmp_path, "a.png", encoded(grey, ".png")))
    np.testing.assert_array_equal(read, np.dstack([grey] * 3))


def test_a_16_bit_picture_is_scaled_to_8_bits(tmp_path: Path, colours: np.ndarray) -> None:
    read = read_picture(written(tmp_path, "a.png", encoded(colours.astype(np.uint16) * 257, ".png")))
    np.testing.assert_array_equal(read, colours)


def test_alpha_is_dropped(tmp_path: Path, colours: np.ndarray) -> None:
    alpha = np.dstack([colours, np.full(colours.shape[:2], 7, np.uint8)])
    np.testing.assert_array_equal(read_picture(written(tmp_path, "a.png", encoded(alpha, ".png"))), colours)


def test_a_cmyk_jpeg_is_converted(tmp_path: Path, colours: np.ndarray) -> None:
    image = pytest.importorskip("PIL.Image")  # writes what OpenCV cannot; absent on a device
    buffer = io.BytesIO()
    image.fromarray(colours[..., ::-1].copy()).convert("CMYK").save(buffer, "JPEG", quality=95, subsampling=0)
    read = read_picture(written(tmp_path, "a.jpg", buffer.getvalue()))
    np.testing.assert_allclose(read.astype(int), colours.astype(int), atol=JPEG_TOLERANCE)


def test_orientation_6_turns_the_picture_clockwise(tmp_path: Path, colours: np.ndarray) -> None:
    turned = read_picture(written(tmp_path, "a.jpg", with_orientation(encoded(colours, ".jpg"), 6)))
    upright = read_picture(written(tmp_path, "b.jpg", encoded(colours, ".jpg")))
    np.testing.assert_array_equal(turned, np.rot90(upright, -1))


def test_orientation_1_leaves_the_picture(tmp_path: Path, colours: np.ndarray) -> None:
    marked = read_picture(written(tmp_path, "a.jpg", with_orientation(encoded(colours, ".jpg"), 1)))
    np.testing.assert_array_equal(marked, read_picture(written(tmp_path, "b.jpg", encoded(colours, ".jpg"))))


@pytest.mark.parametrize("share", [0.75, 0.9, 0.98, 1.0])
def test_a_jpeg_without_its_end_is_refused_as_cut_short(tmp_path: Path, colours: np.ndarray, share: float) -> None:
    whole = encoded(colours, ".jpg")
    path = written(tmp_path, "a.jpg", whole[: int(share * len(whole)) - 1])
    with pytest.raises(ImageError, match=r"a\.jpg is a JPEG that was cut short: it has no end marker"):
        read_picture(path)


@pytest.mark.parametrize("size", [3, 20, 200])
def test_a_jpeg_cut_inside_its_header_is_refused(tmp_path: Path, colours: np.ndarray, size: int) -> None:
    path = written(tmp_path, "a.jpg", encoded(colours, ".jpg")[:size])
    with pytest.raises(ImageError, match=r"a\.jpg is a JPEG .*cut short"):
        read_picture(path)


def test_the_first_bytes_of_a_jpeg_are_no_picture(tmp_path: Path, colours: np.ndarray) -> None:
    with pytest.raises(ImageError, match=r"a\.jpg is no picture"):
        read_picture(written(tmp_path, "a.jpg", encoded(colours, ".jpg")[:2]))


def test_a_cut_jpeg_with_a_whole_thumbnail_is_refused(tmp_path: Path, colours: np.ndarray) -> None:
    whole, thumbnail = encoded(colours, ".jpg"), encoded(colours[:8, :8].copy(), ".jpg")
    block = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail  # it brings an end marker of its own
    path = written(tmp_path, "a.jpg", whole[:2] + block + whole[2:-2])
    with pytest.raises(ImageError, match="cut short"):
        read_picture(path)


def test_a_jpeg_with_something_appended_is_read(tmp_path: Path, colours: np.ndarray) -> None:
    whole = encoded(colours, ".jpg")
    motion_photo = whole + b"a phone's clip, in which any bytes \xff\xda may stand"
    read = read_picture(written(tmp_path, "a.jpg", motion_photo))
    np.testing.assert_array_equal(read, read_picture(written(tmp_path, "b.jpg", whole)))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_png_that_was_cut_short_is_refused(tmp_path: Path, colours: np.ndarray, share: float) -> None:
    whole = encoded(colours, ".png")
    path = written(tmp_path, "a.png", whole[: int(share * len(whole))])
    with pytest.raises(ImageError, match=r"a\.png is a PNG that was cut short"):
        read_picture(path)


def test_an_empty_file_is_refused_as_empty(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"a\.jpg is empty"):
        read_picture(written(tmp_path, "a.jpg", b""))


def test_a_text_file_named_jpg_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"a\.jpg is no picture"):
        read_picture(written(tmp_path, "a.jpg", b"hello, I am no picture\n" * 9))


def test_a_missing_file_is_refused_with_the_system_s_reason(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"a\.jpg is not readable: No such file"):
        read_picture(tmp_path / "a.jpg")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is a folder"):
        read_picture(tmp_path)


@pytest.mark.parametrize("name", ["/dev/zero", "pipe"])
def test_what_may_never_end_is_not_read(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImageError, match="is no regular file"):
        read_picture(tmp_path / name)


@pytest.mark.parametrize(
    ("head", "kind"), [(b"\0\0\0\x18ftypheic", "HEIC"), (b"\xff\x0a", "JPEG XL"), (b"\xff\x4f\xff\x51", "JPEG 2000")]
)
def test_a_kind_that_cannot_be_decoded_is_named_with_the_cure(tmp_path: Path, head: bytes, kind: str) -> None:
    path = written(tmp_path, "a.jpg", head + bytes(90))
    with pytest.raises(ImageError, match=rf"a\.jpg is a {kind} picture, which cannot be decoded here\. Convert it"):
        read_picture(path)


def test_a_kind_that_this_opencv_lacks_is_named_with_the_cure(
    tmp_path: Path, colours: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: None)  # what OpenCV answers where a decoder was not compiled in
    with pytest.raises(
        ImageError, match=r"a WebP picture that is damaged, or that this OpenCV cannot decode\. Convert"
    ):
        read_picture(written(tmp_path, "a.webp", encoded(colours, ".webp")))


def test_a_file_above_the_size_limit_is_refused_before_it_is_read(
    tmp_path: Path, colours: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "MAX_PICTURE_BYTES", 3 << 20)
    path = written(tmp_path, "a.png", encoded(colours, ".png") + b"\0" * (4 << 20))
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("it was read"))
    with pytest.raises(ImageError, match=r"a\.png has 4 MiB; the limit is 3 MiB"):
        read_picture(path)


def test_a_file_of_the_size_limit_is_read(tmp_path: Path, colours: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(colours, ".png")
    monkeypatch.setattr(pictures, "MAX_PICTURE_BYTES", len(content))
    assert read_picture(written(tmp_path, "a.png", content)).shape == colours.shape


@pytest.mark.parametrize("side", [1 << 14, 100_000], ids=["just too many", "ten gigapixels"])
def test_too_many_pixels_are_refused_before_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: int
) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(ImageError, match=rf"a\.png has {side + 1} x {side} pixels; the limit is 256 Mi"):
        read_picture(written(tmp_path, "a.png", png_that_announces(side + 1, side)))


def test_a_png_of_61_bytes_whose_chunk_claims_gigabytes_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    head = png_that_announces(64, 64)[:33]  # the signature and the header
    with pytest.raises(ImageError, match=r"a\.png is a PNG that was cut short: a chunk is longer than the file"):
        read_picture(written(tmp_path, "a.png", head + struct.pack(">I", 0x7FFFFFF0) + b"IDAT" + b"x" * 20))


def test_importing_sacvit_changes_no_environment() -> None:
    code = "import os; before = dict(os.environ); import sacvit.images.decode; assert dict(os.environ) == before"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_fill_bytes_before_a_marker_are_no_fault(tmp_path: Path, colours: np.ndarray) -> None:
    whole = encoded(colours, ".jpg")
    filled = whole[:2] + b"\xff\xff" + whole[2:]
    assert read_picture(written(tmp_path, "a.jpg", filled)).shape == colours.shape


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html><html><title>403 Forbidden</title>", r"a web page \(403 Forbidden\)"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
    ],
)
def test_what_stands_in_the_place_of_a_picture_is_called_what_it_is(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(ImageError, match=rf"a\.jpg is {words}.*\. "):
        read_picture(written(tmp_path, "a.jpg", content))


@pytest.mark.parametrize("kind", [b"P5", b"P6"])
def test_a_pnm_file_that_opencv_would_darken_is_refused(tmp_path: Path, kind: bytes) -> None:
    with pytest.raises(ImageError, match=r"a\.ppm is a PNM file whose white is 1023"):
        read_picture(written(tmp_path, "a.ppm", kind + b"\n# camera\n2 1\n1023\n" + bytes(12)))


def test_of_pictures_that_move_the_first_one_counts(tmp_path: Path, colours: np.ndarray) -> None:
    """A JPEG with further pictures behind it is MPO, which cameras write."""
    jpeg = encoded(colours, ".jpg")
    alone = read_picture(written(tmp_path, "a.jpg", jpeg))
    assert (read_picture(written(tmp_path, "a.jpg", jpeg + encoded(255 - colours, ".jpg"))) == alone).all()
