"""Photographs that come with sacvit, for an INT8 export without images. Licences: photographs/LICENSES.md."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..bundle.preprocess import ImageU8, shrink
from .calibration_set import ImageSet
from .decode import read_picture

FOLDER = Path(__file__).parent / "photographs"
CROPS = 320  # over all photographs; 300 different images are advised for calibration
SMALLEST_CROP = 0.35  # of the short side


def builtin_photographs(size: int) -> ImageSet:
    """Always the same CROPS crops of the photographs, (size, size, 3) uint8 RGB, half of them mirrored."""

    def read() -> Iterator[ImageU8]:
        sources = [read_picture(path) for path in sorted(FOLDER.glob("*.jpg"))]
        rng = np.random.default_rng(0)
        for number in range(CROPS):
            yield _crop(sources[number % len(sources)], size, rng)

    digest, seen = hashlib.sha256(), set()
    for image in read():
        pixels = hashlib.sha256(image.tobytes()).digest()
        digest.update(pixels)
        seen.add(pixels)
    digest_hex = digest.hexdigest()
    return ImageSet("built-in photographs", CROPS, CROPS, len(seen), digest_hex, None, read, are_strangers=True)


def _crop(picture: ImageU8, size: int, rng: np.random.Generator) -> ImageU8:
    import cv2  # as in Preprocessing

    height, width = picture.shape[:2]
    side = int(min(height, width) * rng.uniform(SMALLEST_CROP, 1))
    top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
    view = shrink(picture[top : top + side, left : left + side], size)
    view = cv2.resize(view, (size, size), interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
    if rng.random() < 0.5:
        view = view[:, ::-1]
    return np.ascontiguousarray(view[..., ::-1])
