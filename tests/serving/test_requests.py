"""Requests before anything is computed: sizes that are claimed, damaged pictures, wrong parameters."""

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
from sacvit.serving.requests import fills_of, threshold_of

RULE = Preprocessing(16)


def file_of(height: int, width: int, suffix: str, *options: int) -> bytes:
    shown = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.imencode(suffix, shown, list(options))[1].tobytes()


def request(*files: bytes) -> np.ndarray:
    return np.array([[file] for file in files], object)


@given(st.integers(1, 3000), st.sampled_from([".jpg", ".png"]))
def test_a_picture_that_is_cut_anywhere_is_refused_or_decoded(keep: int, suffix: str) -> None:
    file = file_of(40, 30, suffix)[:keep]
    slot = np.zeros((16, 16, 3), np.uint8)
    try:
        fills_of(request(file), RULE)[0](slot)
    except ImageError as fault:
        assert str(fault).startswith("picture 0 ")


def test_a_png_of_a_few_bytes_that_claims_gigabytes_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    file = bytearray(file_of(8, 8, ".png"))
    file[16:24] = (70_000).to_bytes(4, "big") * 2
    monkeypatch.setattr(requests, "decode_picture", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageError, match=r"picture 0 has 70000 x 70000 pixels; the limit is 50 million. Scale it down"):
        fills_of(request(bytes(file)), RULE)


def test_a_header_that_lies_about_the_size_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was decoded is measured too."""
    monkeypatch.setattr(requests, "MAX_PIXELS", 100)
    monkeypatch.setattr(requests, "picture_size", lambda *_: ("PNG", (1, 1)))
    with pytest.raises(ImageError, match="picture 0 has 20 x 20 pixels"):
        fills_of(request(file_of(20, 20, ".png")), RULE)[0](np.zeros((16, 16, 3), np.uint8))


def test_a_file_of_too_many_bytes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "MAX_FILE_BYTES", 100)
    with pytest.raises(ImageError, match="picture 0 has 0 MiB; the limit is 0 MiB"):
        fills_of(request(file_of(20, 20, ".png")), RULE)


@pytest.mark.parametrize("suffix", [".bmp", ".tiff", ".webp"])
def test_a_picture_of_another_kind_is_refused_by_its_kind(suffix: str) -> None:
    with pytest.raises(ImageError, match="picture 0 is neither a JPEG, a PNG nor a PPM file with P6, but "):
        fills_of(request(file_of(20, 20, suffix)), RULE)


def test_a_png_whose_chunk_claims_gigabytes_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    file = file_of(20, 20, ".png")
    file = file[:33] + (0x7FFFFFF0).to_bytes(4, "big") + b"IDAT" + b"x" * 20
    monkeypatch.setattr(requests, "decode_picture", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageError, match="picture 0 is a PNG that was cut short"):
        fills_of(request(file), RULE)


def test_a_request_that_claims_no_image_and_carries_one_is_refused() -> None:
    """Triton hands it over without the first side."""
    with pytest.raises(ImageError, match=r"image must be BYTES of \[N, 1\], found \[1\]"):
        fills_of(request(b"P6 1 1 255\nabc")[0], RULE)


@pytest.mark.parametrize(
    "file",
    [
        b"P6",
        b"P6 4 4 255",
        b"P6 4 4 65535\n" + bytes(96),
        b"P6\n# mine\n4 4\n255\n" + bytes(48),
        b"P6 -4 -4 255\n" + bytes(48),
        b"P6 4 4 255\n" + bytes(47),
        b"P6 4 4 255\n" + bytes(49),
        b"P6 0 4 255\n",
        b"P6 99999 99999 255\n",
        b"P6 " + b"9" * 5000 + b" 4 255\n",
    ],
)
def test_pixels_that_are_not_what_their_header_says_are_refused(file: bytes) -> None:
    with pytest.raises(ImageError, match="picture 0 "):
        fills_of(request(file), RULE)


def test_pixels_of_the_network_s_size_are_taken_as_they_are() -> None:
    images = np.random.default_rng(1).integers(0, 256, (2, 16, 16, 3), np.uint8)
    slots = np.zeros((2, 16, 16, 3), np.uint8)
    given = request(*(b"P6\n16 16\n255\n" + image.tobytes() for image in images))
    for fill, slot in zip(fills_of(given, Preprocessing(16, crop_ratio=0.5)), slots, strict=True):
        fill(slot)
    assert (slots == images).all()


def test_pixels_of_another_size_go_through_the_preprocessing_rule() -> None:
    image = np.random.default_rng(1).integers(0, 256, (40, 30, 3), np.uint8)
    slot = np.zeros((16, 16, 3), np.uint8)
    fills_of(request(b"P6 30 40 255\n" + image.tobytes()), RULE)[0](slot)
    assert (slot == RULE.apply(image, bgr=False)).all()


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


def test_an_eta_of_400_digits_is_the_client_s_fault() -> None:
    with pytest.raises(UsageError, match=r"eta must be a number in \[0, 1\]"):
        threshold_of('{"eta": 1' + "0" * 400 + "}", 0.5)
