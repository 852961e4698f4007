"""The images that a profile runs over, decoded beforehand so that decoding is not measured."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...bundle.errors import SacvitError
from ...bundle.goldens import GOLDENS_NAME, read_goldens
from ...bundle.preprocess import ImageU8, Preprocessing

MOST_IMAGES, MOST_BYTES = 256, 512 << 20
RANDOM_IMAGES = 16


@dataclass(frozen=True)
class Images:
    """Decoded frames (H, W, 3) in BGR, or in RGB with `are_rgb`. name: for people."""

    name: str
    frames: Sequence[ImageU8]
    are_rgb: bool
    preprocessing: Preprocessing

    @property
    def sha256(self) -> str:
        """The SHA-256 of all pixels, in order."""
        digest = hashlib.sha256()
        for frame in self.frames:
            digest.update(repr(frame.shape).encode())
            digest.update(np.ascontiguousarray(frame).tobytes())
        return digest.hexdigest()

    def prepare(self, number: int, slot: ImageU8) -> None:
        """Puts image `number`, modulo the number of images, into its slot."""
        self.preprocessing.apply(self.frames[number % len(self.frames)], slot, bgr=not self.are_rgb)


def load_images(source: str | None, folder: Path, preprocessing: Preprocessing) -> Images:
    """The first frames of a source that sacvit-run takes; without one the bundle's own images, otherwise noise.

    At most MOST_IMAGES and MOST_BYTES of them. Raises SacvitError for a source without a readable frame.
    """
    if source is not None:
        return _from_source(source, preprocessing)
    if (folder / GOLDENS_NAME).is_file():
        images = read_goldens(folder).images
        return Images(
            f"{len(images)} images of {GOLDENS_NAME}, chosen to hold exits and others: their exit rate is not your data's",
            list(images),
            True,
            preprocessing,
        )
    size = preprocessing.image_size
    noise = np.random.default_rng(0).integers(0, 256, (RANDOM_IMAGES, size, size, 3), np.uint8)
    return Images(f"{RANDOM_IMAGES} images of noise: the exit rate means nothing", list(noise), True, preprocessing)


def _from_source(spec: str, preprocessing: Preprocessing) -> Images:
    from ...runtime.sources.address import without_password
    from ...runtime.sources.opening import open_source

    source = open_source(spec, option="--source")
    frames: list[ImageU8] = []
    try:
        for frame in itertools.islice(source, MOST_IMAGES):
            if sum(image.nbytes for image in frames) + frame.image.nbytes > MOST_BYTES:
                break
            frames.append(frame.image)
    finally:
        source.close()
    if not frames:
        raise SacvitError(
            f"--source {without_password(spec)} gave no frame: {'; '.join(source.faults) or 'it is empty'}"
        )
    height, width = frames[0].shape[:2]
    name = f"{len(frames)} frames of {without_password(spec)}, the first {width} x {height}"
    return Images(name, frames, False, preprocessing)
