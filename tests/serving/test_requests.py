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
from sacvit.serving.requests import fills_of, threshold_of

RULE = Preprocessing(16)


def file_of(height: int, width: int, suffix: str, *options: int) -> bytes:
    shown = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.imencode(suffix, shown, list(options))[1].tobytes()


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


def test_a_header_that_lies_about_the_size_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was decoded is measured too."""
    monkeypatch.setattr(requests, "MAX_PIXELS", 100)
    monkeypatch.setattr(requests, "picture_size", lambda *_: ("PNG", (1, 1)))
    array = np.frombuffer(file_of(20, 20, ".png"), np.uint8).reshape(1, 1, -1, 1)
    with pytest.raises(ImageError, match="picture 0 has 20 x 20 pixels"):
        fills_of(array, RULE)[0](np.zeros((16, 16, 3), np.uint8))


def test_a_file_of_too_many_bytes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "MAX_ENCODED_BYTES", 100)
    array = np.frombuffer(file_of(20, 20, ".png"), np.uint8).reshape(1, 1, -1, 1)
    with pytest.raises(ImageError, match="picture 0 has 0 MiB; the limit is 0 MiB"):
        fills_of(array, RULE)


@pytest.mark.parametrize("suffix", [".bmp", ".tiff", ".webp"])
def test_a_picture_of_another_kind_is_refused_by_its_kind(suffix: str) -> None:
    array = np.frombuffer(file_of(20, 20, suffix), np.uint8).reshape(1, 1, -1, 1)
    with pytest.raises(ImageError, match="picture 0 is neither a JPEG nor a PNG file, but "):
        fills_of(array, RULE)


def test_a_png_whose_chunk_claims_gigabytes_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    file = file_of(20, 20, ".png")
    file = file[:33] + (0x7FFFFFF0).to_bytes(4, "big") + b"IDAT" + b"x" * 20
    monkeypatch.setattr(requests, "decode_picture", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageError, match="picture 0 is a PNG that was cut short"):
        fills_of(np.frombuffer(file, np.uint8).reshape(1, 1, -1, 1), RULE)


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
