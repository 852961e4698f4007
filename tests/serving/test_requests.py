"""Requests before anything is computed: sizes that are claimed, pictures that are none, etas that cannot be."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit.bundle.errors import ImageError, SacvitError, UsageError
from sacvit.bundle.preprocess import Preprocessing
from sacvit.serving import requests
from sacvit.serving.requests import fills_of, picture_size, threshold_of

RULE = Preprocessing(16)


def file_of(height: int, width: int, suffix: str, *options: int) -> bytes:
    shown = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.imencode(suffix, shown, list(options))[1].tobytes()


@given(st.integers(1, 80), st.integers(1, 80), st.sampled_from([".jpg", ".png"]))
def test_the_size_in_the_header_is_the_size_of_the_picture(height: int, width: int, suffix: str) -> None:
    assert picture_size(file_of(height, width, suffix), "it") == (width, height)


def test_a_progressive_jpeg_tells_its_size() -> None:
    assert picture_size(file_of(30, 50, ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1), "it") == (50, 30)


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0\x00\x04ab"]),
)
def test_no_bytes_can_break_the_reading_of_a_header(junk: bytes, start: bytes) -> None:
    try:
        width, height = picture_size(start + junk, "it")
        assert width >= 0 and height >= 0
    except ImageError as fault:
        assert str(fault).startswith("it is ")


@given(st.integers(1, 3000), st.sampled_from([".jpg", ".png"]))
def test_a_picture_that_is_cut_anywhere_is_refused_or_decoded(keep: int, suffix: str) -> None:
    file = file_of(40, 30, suffix)[:keep]
    slot = np.zeros((16, 16, 3), np.uint8)
    array = np.frombuffer(file, np.uint8).reshape(1, 1, -1, 1)
    try:
        fills_of(array, RULE)[0](slot)
    except ImageError as fault:
        assert str(fault).startswith("picture 0 ")


def test_a_png_of_a_few_bytes_that_claims_gigabytes_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    file = bytearray(file_of(8, 8, ".png"))
    file[16:24] = (70_000).to_bytes(4, "big") * 2
    array = np.frombuffer(bytes(file), np.uint8).reshape(1, 1, -1, 1)
    monkeypatch.setattr(requests, "decode_picture", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageError, match=r"picture 0 has 70000 x 70000 pixels; the limit is 50 million. Scale it down"):
        fills_of(array, RULE)


@pytest.mark.parametrize("marker", [0x00, 0x01, 0xD0, 0xD7])
def test_a_marker_without_a_length_cannot_hide_the_size(marker: int) -> None:
    """A decoder goes on behind the marker; who reads a length there jumps, here to a size that is a comment's."""
    file = file_of(40, 30, ".jpg")
    small = b"\xff\xc0\x00\x11\x08\x00\x08\x00\x08" + bytes(10) + b"\xff\xda" + bytes(100)
    comments = b"\xff\xff\xfe" + (40_000).to_bytes(2, "big") + bytes(39_998)
    rest = 4 + 0xFFFF - len(comments) - 4 - 4  # from the second comment's data to where the jump ends
    comments += b"\xff\xfe" + (2 + rest + len(small)).to_bytes(2, "big") + bytes(rest) + small
    file = b"\xff\xd8\xff" + bytes([marker]) + comments + file[2:]
    assert cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR).shape == (40, 30, 3)
    with pytest.raises(ImageError, match="its header tells no size"):
        picture_size(file, "it")


def test_a_header_that_lies_about_the_size_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was decoded is measured too."""
    monkeypatch.setattr(requests, "MAX_PIXELS", 100)
    monkeypatch.setattr(requests, "picture_size", lambda *_: (1, 1))
    array = np.frombuffer(file_of(20, 20, ".png"), np.uint8).reshape(1, 1, -1, 1)
    with pytest.raises(ImageError, match="picture 0 has 20 x 20 pixels"):
        fills_of(array, RULE)[0](np.zeros((16, 16, 3), np.uint8))


def test_a_file_of_too_many_bytes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "MAX_ENCODED_BYTES", 100)
    array = np.frombuffer(file_of(20, 20, ".png"), np.uint8).reshape(1, 1, -1, 1)
    with pytest.raises(ImageError, match="picture 0 has 0 MiB; the limit is 0 MiB"):
        fills_of(array, RULE)


@pytest.mark.parametrize("shape", [(1, 4, 4, 4), (1, 4, 4), (1, 4, 4, 1), (0, 4, 4, 3), (1, 4, 0, 3), (1, 1, 0, 1)])
def test_what_is_neither_pixels_nor_files_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=r"image must be UINT8 of \[N, H, W, 3\], RGB, or \[N, 1, bytes, 1\]"):
        fills_of(np.zeros(shape, np.uint8), RULE)


def test_pixels_of_the_network_s_size_are_taken_as_they_are() -> None:
    image = np.random.default_rng(1).integers(0, 256, (2, 16, 16, 3), np.uint8)
    slots = np.zeros((2, 16, 16, 3), np.uint8)
    for fill, slot in zip(fills_of(image, Preprocessing(16, crop_ratio=0.5)), slots, strict=True):
        fill(slot)
    assert (slots == image).all()


@given(st.one_of(st.floats(), st.integers(), st.text(), st.booleans(), st.none(), st.lists(st.integers())))
def test_an_eta_is_a_number_from_0_to_1_or_refused(eta: object) -> None:
    number = isinstance(eta, int | float) and not isinstance(eta, bool) and 0 <= eta <= 1
    try:
        assert threshold_of(json.dumps({"eta": eta}), 0.5) == eta and number
    except SacvitError as fault:
        assert not number and str(fault).startswith("eta must be a number in [0, 1], found ")


def test_an_eta_of_many_characters_does_not_come_back_whole() -> None:
    """gRPC tells a client no error of more than 8 kB."""
    with pytest.raises(UsageError) as fault:
        threshold_of(json.dumps({"eta": "0" * 100_000}), 0.5)
    assert len(str(fault.value)) < 100


@pytest.mark.parametrize("parameters", ["", "{}"])
def test_without_an_eta_the_stored_one_holds(parameters: str) -> None:
    assert threshold_of(parameters, 0.5) == 0.5


@pytest.mark.parametrize("name", ["Eta", "threshold", ""])
def test_an_unknown_parameter_is_refused_by_name(name: str) -> None:
    """Also beside an eta: a misspelt parameter would be ignored, and the answers would be wrong without a word."""
    with pytest.raises(UsageError, match=f"unknown parameter '{name}'.* eta"):
        threshold_of(json.dumps({"eta": 0.5, name: 0.5}), 0.5)


def test_a_parameters_name_of_many_characters_does_not_come_back_whole() -> None:
    with pytest.raises(UsageError) as fault:
        threshold_of(json.dumps({"e" * 100_000: 0.5}), 0.5)
    assert len(str(fault.value)) < 100
