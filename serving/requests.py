"""Checks a client's request before anything is computed: the pictures, and their eta.

A request that cannot be served raises UsageError or ImageError with the reason, and does not affect other requests of its
batch.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ..bundle.errors import ImageError, UsageError
from ..bundle.preprocess import ImageU8, Preprocessing
from ..images.decode import decode_picture, picture_size

MAX_PIXELS = 50_000_000  # of one picture: 150 MB when decoded; cameras have less
MAX_FILE_BYTES = 160 << 20  # as many pixels, not compressed
KINDS = ("JPEG", "PNG")  # of files that are decoded here: clients get fewer decoders than a user's own pictures
PPM = re.compile(rb"P6[ \n]([0-9]{1,5})[ \n]([0-9]{1,5})[ \n]255\n")  # width and height; RGB pixels follow
Fill = Callable[[ImageU8], None]  # writes the network's view (S, S, 3) of one picture into its slot


def threshold_of(parameters: str, default: float) -> float:
    """The eta of a request. parameters: JSON, as Triton hands it over. Raises UsageError for any other parameter."""
    given: dict[str, Any] = json.loads(parameters or "{}")
    for name in given:
        if name != "eta":
            raise UsageError(f"unknown parameter {reprlib.repr(name)}: the only parameter is eta")
    eta = given.get("eta", default)
    if isinstance(eta, bool) or not isinstance(eta, int | float) or not 0 <= eta <= 1:
        raise UsageError(f"eta must be a number in [0, 1], found {reprlib.repr(eta)}")
    return float(eta)


def fills_of(pictures: npt.NDArray[Any], preprocessing: Preprocessing) -> list[Fill]:
    """Functions that write each picture of a request into its slot.

    pictures: (N, 1) objects of bytes, as Triton gives an input of the type BYTES: JPEG, PNG or PPM files. Raises ImageError
    for a picture that cannot be served.
    """
    if pictures.ndim != 2:  # a request that claims 0 images and carries some
        raise ImageError(f"image must be BYTES of [N, 1], found {list(pictures.shape)}")
    return [_fill_of(file, f"picture {place}", preprocessing) for place, file in enumerate(pictures[:, 0])]


def _fill_of(file: bytes, name: str, preprocessing: Preprocessing) -> Fill:
    if len(file) > MAX_FILE_BYTES:
        raise ImageError(f"{name} has {len(file) >> 20} MiB; the limit is {MAX_FILE_BYTES >> 20} MiB")
    return _of_pixels(file, name, preprocessing) if file.startswith(b"P6") else _of_file(file, name, preprocessing)


def _of_pixels(file: bytes, name: str, preprocessing: Preprocessing) -> Fill:
    header = PPM.match(file)
    if header is None:
        raise ImageError(f"{name} is a PPM file with another header than P6, width, height, 255, a line each")
    width, height = map(int, header.groups())
    require_size(width, height, name)
    if not width * height or len(file) - header.end() != width * height * 3:
        raise ImageError(f"{name} is a PPM file of {width} x {height} pixels with {len(file) - header.end()} bytes")
    pixels = np.frombuffer(file, np.uint8, offset=header.end()).reshape(height, width, 3)

    def fill(slot: ImageU8) -> None:
        preprocessing.apply(pixels, slot, bgr=False)

    return fill


def _of_file(file: bytes, name: str, preprocessing: Preprocessing) -> Fill:
    kind, size = picture_size(file, name)
    if kind not in KINDS:
        raise ImageError(f"{name} is neither a JPEG, a PNG nor a PPM file with P6, but {kind}")
    require_size(*size, name)

    def fill(slot: ImageU8) -> None:
        picture = decode_picture(file, name)
        require_size(picture.shape[1], picture.shape[0], name)
        preprocessing.apply(picture, slot)

    return fill


def require_size(width: int, height: int, name: str) -> None:
    """Raises ImageError for a picture of too many pixels."""
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{name} has {width} x {height} pixels; the limit is {MAX_PIXELS // 1_000_000} million. Scale it down first"
        )
