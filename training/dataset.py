"""Training and validation images from a data folder.

Two layouts, told apart by what is there:

    DIR/{train,val}/images.npy labels.npy [difficulty.npy] [classes.txt]     arrays, memory-mapped
    DIR/{train,val}/CLASS/*.{jpg,png,...}                                    pictures in class folders

`images.npy` is (N, S, S, 3) uint8 RGB, `labels.npy` (N,) integers, `difficulty.npy` (N,) floats for the curriculum.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..bundle.arrays import load_array
from ..bundle.errors import ConfigError, ImageError
from ..bundle.pictures import SUFFIXES, read_picture
from ..bundle.preprocess import ImageU8, Preprocessing

DECODE_THREADS = 4
SMALLEST_CROP = 0.35  # share of the picture's area that a random crop keeps at least


@dataclass
class Split:
    """Images and labels of one split. `difficulty` is None where the data does not grade its images."""

    labels: npt.NDArray[np.int64]
    classes: list[str]
    difficulty: npt.NDArray[np.float32] | None
    images: npt.NDArray[np.uint8] | None  # (N, S, S, 3), or None when `paths` holds pictures
    paths: list[Path]
    preprocessing: Preprocessing

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: npt.NDArray[np.int64], crops: npt.NDArray[np.float64] | None = None) -> ImageU8:
        """The images at `indices`, (len, S, S, 3) uint8; with `crops` (len, 4) in [0, 1], cropped and mirrored pictures."""
        if self.images is not None:
            order = np.argsort(indices, kind="stable")  # a memory map is read forward
            out = np.empty((len(indices), *self.images.shape[1:]), np.uint8)
            out[order] = self.images[indices[order]]
            return out
        cuts = [None] * len(indices) if crops is None else list(crops)
        with ThreadPoolExecutor(DECODE_THREADS) as pool:
            return np.stack(list(pool.map(self._picture, indices, cuts)))

    def _picture(self, index: int, crop: npt.NDArray[np.float64] | None) -> ImageU8:
        picture = read_picture(self.paths[index])
        if crop is None:
            return self.preprocessing.apply(picture)
        height, width = picture.shape[:2]
        side = int(min(height, width) * (SMALLEST_CROP + (1 - SMALLEST_CROP) * crop[0]) ** 0.5)
        top, left = int((height - side) * crop[1]), int((width - side) * crop[2])
        view = picture[top : top + side, left : left + side]
        whole = Preprocessing(self.preprocessing.image_size, fit="stretch")
        return whole.apply(np.ascontiguousarray(view[:, ::-1]) if crop[3] < 0.5 else view)


def open_split(folder: Path, preprocessing: Preprocessing) -> Split:
    """The split that lies in `folder`. Raises ImageError when it holds neither layout, or arrays that do not fit."""
    if (folder / "images.npy").is_file():
        return _open_arrays(folder, preprocessing)
    if not folder.is_dir():
        raise ImageError(f"{folder} is missing: a data folder has train/ and val/, with arrays or class folders inside")
    names = sorted(child.name for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
    paths, labels = [], []
    for label, name in enumerate(names):
        found = sorted(path for path in (folder / name).rglob("*") if path.suffix.lower() in SUFFIXES)
        paths += found
        labels += [label] * len(found)
    if not paths:
        raise ImageError(f"{folder} holds neither images.npy nor class folders with pictures")
    return Split(np.array(labels, np.int64), names, None, None, paths, preprocessing)


def _open_arrays(folder: Path, preprocessing: Preprocessing) -> Split:
    images, labels = load_array(folder / "images.npy", "r"), load_array(folder / "labels.npy")
    size = preprocessing.image_size
    if images.ndim != 4 or images.shape[1:] != (size, size, 3) or images.dtype != np.uint8 or not len(images):
        raise ImageError(
            f"{folder / 'images.npy'} must be (N, {size}, {size}, 3) uint8, found {images.shape} {images.dtype}"
        )
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu" or labels.min() < 0:
        lowest = f" from {labels.min()} on" if labels.size and labels.dtype.kind in "iuf" else ""
        found = f"{labels.dtype} {labels.shape}{lowest}"
        raise ImageError(f"{folder / 'labels.npy'} must hold {len(images)} whole numbers from 0 on, found {found}")
    difficulty = load_array(folder / "difficulty.npy") if (folder / "difficulty.npy").is_file() else None
    if difficulty is not None and (difficulty.shape != labels.shape or difficulty.dtype.kind not in "iuf"):
        found = f"{difficulty.dtype} {difficulty.shape}"
        raise ImageError(f"{folder / 'difficulty.npy'} must hold {len(images)} numbers, found {found}")
    names = folder / "classes.txt"
    count = int(labels.max()) + 1
    try:
        classes = names.read_text("utf-8").splitlines() if names.is_file() else [str(index) for index in range(count)]
    except UnicodeDecodeError as reason:
        raise ImageError(f"{names} is no UTF-8 text: {reason}") from None
    if len(classes) < count:
        raise ImageError(f"{names} names {len(classes)} classes, but labels.npy has label {count - 1}")
    graded = None if difficulty is None else difficulty.astype(np.float32)
    return Split(labels.astype(np.int64), classes, graded, images, [], preprocessing)


class Batches:
    """Random batches for training: the batch of a step depends on the seed and the step alone, so a run resumes.

    With a curriculum, the easiest `CURRICULUM_START` of the images come first, and the share grows to all of them over
    the first `curriculum` of the steps.
    """

    CURRICULUM_START = 0.3

    def __init__(self, split: Split, batch: int, steps: int, seed: int, curriculum: float, augment: bool) -> None:
        if curriculum and split.difficulty is None:
            raise ConfigError("a curriculum needs difficulty.npy in the training folder")
        if augment and split.images is not None:
            raise ConfigError("--augment works on class folders of pictures; arrays are used as they are")
        self.split, self.batch, self.steps, self.seed, self.augment = split, batch, steps, seed, augment
        self.curriculum = curriculum
        self.order = np.arange(len(split)) if split.difficulty is None else np.argsort(split.difficulty, kind="stable")

    def read(self, step: int, part: slice = slice(None)) -> tuple[ImageU8, npt.NDArray[np.int64]]:
        """Images (batch, S, S, 3) uint8 and labels (batch,) of a step, or a part of them: all parts make the whole."""
        rng = np.random.default_rng((self.seed, step))
        ramp = min(1.0, step / (self.curriculum * self.steps)) if self.curriculum else 1.0
        share = self.CURRICULUM_START + (1 - self.CURRICULUM_START) * ramp
        indices = self.order[rng.integers(max(1, int(share * len(self.order))), size=self.batch)]
        crops = rng.random((self.batch, 4))[part] if self.augment else None
        return self.split.read(indices[part], crops), self.split.labels[indices[part]]
