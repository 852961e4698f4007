"""The calibration set beside a checkpoint: some training images as the network sees them, for `sacvit-export --int8`.

NAME.calib.tar belongs to NAME.pth, which holds its SHA-256. It is an uncompressed tar in WebDataset's layout, one of the
layouts that `--data` takes: KEY.png or KEY.jpg is an image of S x S pixels, KEY.cls its class number; of a dense task, the
class of most of its cells. One file has one
hash, can be copied with its checkpoint, and gives its pictures by their place without being unpacked.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ..bundle.errors import SacvitError
from ..bundle.files import written_whole
from ..bundle.preprocess import ImageU8
from ..model.checkpoint_entries import CalibrationSet, calibration_path
from .dataset import Labels, Split
from .dense.masks import most_frequent

MOST_IMAGES = 512  # the default of sacvit-export --calib-count
FEWEST_IMAGES = 200  # fewer make ranges unreliable
MAX_BYTES = 8 << 20
# The first encoding that fits FEWEST_IMAGES is used: 224 pixels end up in the second, 64 pixels in the first.
ENCODINGS: tuple[tuple[str, list[int]], ...] = (
    (".png", []),
    *((".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality]) for quality in (95, 90, 80, 60, 40)),
)
READ_AT_ONCE = 64
CLASS_ORDER_SEED = 0


def write_calibration_set(checkpoint: Path, split: Split, max_bytes: int = MAX_BYTES) -> CalibrationSet:
    """Writes the set that belongs to `checkpoint`, at most `max_bytes` long. The same images give the same bytes.

    Images that cannot be read are left out. Raises SacvitError if the file cannot be written.
    """
    labels = split.labels
    if labels.ndim > 1:
        labels = most_frequent(labels.reshape(len(labels), -1)).astype(np.int64)
    images, kept = read_images(split, spread_over_classes(labels, MOST_IMAGES))
    labels = labels[kept]
    content = pack(images, labels, max_bytes)
    path = calibration_path(checkpoint)
    try:
        with written_whole(path) as partial:
            partial.write_bytes(content)
    except OSError as reason:
        raise SacvitError(f"{path} cannot be written: {reason.strerror or reason}") from None
    return CalibrationSet(path, hashlib.sha256(content).hexdigest())


def spread_over_classes(labels: Labels, count: int) -> npt.NDArray[np.int64]:
    """Up to `count` indices. Every prefix of them has the classes equally often, as far as they have images.

    Within a class, the images are evenly spaced; classes take turns in a random order that does not change.
    """
    by_class = np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels))[:-1])
    by_class = [by_class[number] for number in np.random.default_rng(CLASS_ORDER_SEED).permutation(len(by_class))]
    each = 1
    while sum(min(each, len(members)) for members in by_class) < min(count, len(labels)):
        each += 1
    turns = [
        (turn, members[turn * len(members) // min(each, len(members))])
        for members in by_class
        for turn in range(min(each, len(members)))
    ]
    turns.sort(key=lambda pair: pair[0])  # stable: the classes of a turn stay in their order
    return np.array([index for _, index in turns[:count]], np.int64)


def read_images(split: Split, indices: Labels) -> tuple[ImageU8, Labels]:
    """The readable images (K, S, S, 3) RGB, without augmentation, and their indices (K,)."""
    parts = [split.read(indices[start : start + READ_AT_ONCE]) for start in range(0, len(indices), READ_AT_ONCE)]
    images, kept = (np.concatenate(side) for side in zip(*parts, strict=True))
    return images, kept


def pack(images: ImageU8, labels: Labels, max_bytes: int) -> bytes:
    """The tar file of as many images, from the first on, as fit into `max_bytes` in the first encoding that fits enough."""
    room = max_bytes // tarfile.RECORDSIZE * tarfile.RECORDSIZE - 2 * tarfile.BLOCKSIZE  # the end mark, filled up
    content = b""
    for suffix, options in ENCODINGS:
        file = io.BytesIO()
        count = 0
        with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for image, label in zip(images, labels, strict=True):
                done, picture = cv2.imencode(suffix, image[..., ::-1], options)
                assert done  # S x S x 3 bytes are always a picture
                blocks = 3 + -(-len(picture) // tarfile.BLOCKSIZE)  # two headers, the label, the picture
                if file.tell() + blocks * tarfile.BLOCKSIZE > room:
                    break
                for name, data in ((f"{count:04}{suffix}", picture.tobytes()), (f"{count:04}.cls", b"%d\n" % label)):
                    member = tarfile.TarInfo(name)  # time and owner stay 0: the bytes depend on the images alone
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
                count += 1
        content = file.getvalue()
        if count >= min(FEWEST_IMAGES, len(images)):
            break
    return content
