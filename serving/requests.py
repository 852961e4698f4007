"""What a client sent, checked before anything is computed: pictures, and the eta they are judged by.

Everything here is somebody else's. A request that cannot be served raises UsageError or ImageError with what was wrong, and
touches no other request of its batch.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ..bundle.errors import ImageError, UsageError
from ..bundle.preprocess import ImageU8, Preprocessing
from ..images.decode import decode_picture, picture_size

MAX_PIXELS = 50_000_000  # of one picture: 150 MB when decoded; cameras have less
MAX_ENCODED_BYTES = 64 << 20
KINDS = ("JPEG", "PNG")  # of files that are decoded here: fewer decoders than a user's own pictures get
Fill = Callable[[ImageU8], None]  # writes the network's view (S, S, 3) of one picture into its slot


def threshold_of(parameters: str, default: float) -> float:
    """The eta of a request. parameters: JSON, as Triton hands it over. Raises UsageError for any other parameter."""
    given: dict[str, Any] = json.loads(parameters or "{}")
    for name in given:
        if name != "eta":
            raise UsageError(f"unknown parameter {reprlib.repr(name)}: the only parameter is eta")
    eta = given.get("eta", default)
    if isinstance(eta, bool) or not isinstance(eta, int | float) or not math.isfinite(eta) or not 0 <= eta <= 1:
        raise UsageError(f"eta must be a number in [0, 1], found {reprlib.repr(eta)}")
    return float(eta)


def fills_of(image: npt.NDArray[Any], preprocessing: Preprocessing) -> list[Fill]:
    """How each picture of a request gets into its slot.

    image: (B, H, W, 3) uint8 RGB, or (B, 1, L, 1) uint8: JPEG or PNG files, with zeros behind the shorter ones. One input
    for both: Triton joins no requests whose inputs differ, and a queue that it cuts into pieces is never seen full.
    Raises ImageError for one that cannot be served.
    """
    if image.dtype != np.uint8 or image.ndim != 4 or 0 in image.shape or image.shape[3] not in (1, 3):
        raise _unknown(image)
    if image.shape[3] == 3:
        require_size(image.shape[2], image.shape[1], "image")
        return [_of_pixels(pixels, preprocessing) for pixels in image]
    if image.shape[1] != 1:
        raise _unknown(image)
    return [_of_file(row.tobytes(), f"picture {place}", preprocessing) for place, row in enumerate(image)]


def _unknown(image: npt.NDArray[Any]) -> ImageError:
    return ImageError(
        f"image must be UINT8 of [N, H, W, 3], RGB, or [N, 1, bytes, 1], JPEG or PNG files, none of them 0;"
        f" found {list(image.shape)} {image.dtype}"
    )


def _of_pixels(pixels: ImageU8, preprocessing: Preprocessing) -> Fill:
    def fill(slot: ImageU8) -> None:
        preprocessing.apply(pixels, slot, bgr=False)

    return fill


def _of_file(file: bytes, name: str, preprocessing: Preprocessing) -> Fill:
    if len(file) > MAX_ENCODED_BYTES:
        raise ImageError(f"{name} has {len(file) >> 20} MiB; the limit is {MAX_ENCODED_BYTES >> 20} MiB")
    kind, size = picture_size(file, name)
    if kind not in KINDS:
        raise ImageError(f"{name} is neither a JPEG nor a PNG file, but {kind}")
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
