"""Calibration and evaluation images, in a fixed order and with a hash.

Only one batch is in memory at a time: images are read again for every pass.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..bundle.errors import ImageError, UsageError
from ..bundle.preprocess import ImageU8, Preprocessing
from .arrays import Labels
from .data_set import open_data_set

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageSet:
    """Images that come in the same order every time. sha256 is of the pixels that the network sees."""

    source: str
    count: int
    available: int  # the images that `count` were chosen from, evenly
    distinct: int  # of the count
    sha256: str
    labels: Labels | None  # (count,)
    read: Callable[[], Iterator[ImageU8]]  # (S, S, 3), one after the other
    why_unlabelled: str = ""  # where labels is None
    are_strangers: bool = False  # not the model's images: stricter guards, and no threshold is fitted

    def batches(self, size: int) -> Iterator[ImageU8]:
        """(size, S, S, 3) uint8; the last one may be shorter."""
        held: list[ImageU8] = []
        for image in self.read():
            held.append(image)
            if len(held) == size:
                yield np.stack(held)
                held = []
        if held:
            yield np.stack(held)


def open_images(
    path: Path,
    preprocessing: Preprocessing,
    count: int | None,
    classes: int,
    names: list[str] | None,
    option: str,
    progress: Callable[[int], object] = lambda count: None,
) -> ImageSet:
    """The images at `path`: all, or `count` spread evenly. Reads every one of them once, for the hash.

    classes, names: the number of classes, and their names. option: names the flag in messages.
    Raises ImageError for a path without images, an image that cannot be read, or labels that do not fit.
    """
    if count is not None and count < 1:
        raise UsageError(f"the number of images for {option} must be at least 1, found {count}")
    found = open_data_set(path, option, classes, names)
    if found.labels is None:
        logger.info("%s; the images are used without labels", found.why_unlabelled)
    total = len(found)
    chosen = np.arange(total) if count is None or count >= total else np.arange(count) * total // count

    def read() -> Iterator[ImageU8]:
        for index in chosen.tolist():
            yield preprocessing.apply(found.read(index))

    digest = hashlib.sha256(json.dumps(preprocessing.to_dict()).encode())
    seen = set()
    for image in read():
        pixels = hashlib.sha256(image.tobytes()).digest()
        digest.update(pixels)
        seen.add(pixels)
        progress(1)
    if len(seen) == 1 and len(chosen) > 1:
        raise ImageError(f"{option} {path}: all {len(chosen)} images are one and the same; give different ones")
    kept = None if found.labels is None else found.labels[chosen]
    sha256 = digest.hexdigest()
    return ImageSet(str(path), len(chosen), total, len(seen), sha256, kept, read, found.why_unlabelled)
