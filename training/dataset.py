"""Training and validation images from a data folder.

Three layouts, recognised by their files:

    DIR/{train,val}/images.npy labels.npy [difficulty.npy] [classes.txt]     arrays, memory-mapped
    DIR/{train,val}/images.npy masks.npy [difficulty.npy] [classes.txt]      the same of a dense task, see `dense/masks`
    DIR/{train,val}/*.tar [classes.txt]                                      pictures in shards, see `shards`
    DIR/{train,val}/CLASS/*.{jpg,png,...}                                    pictures in class folders

`images.npy` is (N, S, S, 3) uint8 RGB, `labels.npy` (N,) integers, `difficulty.npy` (N,) floats for the curriculum.
"""

from __future__ import annotations

import hashlib
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..bundle.arrays import load_array
from ..bundle.errors import ImageError
from ..bundle.preprocess import ImageU8, Preprocessing
from ..images.arrays import open_array_folder
from ..images.class_names import CLASSES_NAME, read_class_names, same_letters
from ..images.decode import read_picture
from ..images.pictures import class_pictures
from ..images.shards import Shards, open_shards, shards_at
from .augment import Augmentation
from .dense.masks import MASKS_NAME, read_masks

logger = logging.getLogger(__name__)
Labels = npt.NDArray[np.int64]
Generators = list[np.random.Generator]
UNTOUCHED = Augmentation()
TOLERATED_SHARE = 0.01  # of a split's pictures that may be unreadable; above it, something else is wrong
TOLERATED = 10  # of a small split
MAX_CLASSES = 1 << 20  # larger labels would make a list of names that fills the memory
TRIES = 16  # unreadable pictures in a row that may be replaced


@dataclass
class Files:
    """Pictures in class folders."""

    paths: list[Path]

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> ImageU8:
        """The decoded picture (H, W, 3) BGR. Raises ImageError."""
        return read_picture(self.paths[index])


@dataclass
class Split:
    """Images and labels of one split: (N,), or of a dense task (N, 2G, 2G). `difficulty` is None where the data
    does not grade its images."""

    labels: Labels
    classes: list[str]
    difficulty: npt.NDArray[np.float32] | None
    images: npt.NDArray[np.uint8] | Files | Shards  # an array is (N, S, S, 3), used as it is
    preprocessing: Preprocessing
    faults: dict[int, str] = field(default_factory=dict)  # of unreadable pictures, by their indices

    def __post_init__(self) -> None:
        # Local processes share the cores; a picture's thread leaves Python's lock while OpenCV decodes.
        cores = len(os.sched_getaffinity(0)) // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
        self.pool = ThreadPoolExecutor(max(2, min(cores, 16)), "picture")

    def __len__(self) -> int:
        return len(self.labels)

    def view(self, index: int, augmentation: Augmentation, rng: np.random.Generator | None) -> ImageU8:
        """One image (S, S, 3) RGB; with a generator, augmented. Raises ImageError."""
        if isinstance(self.images, np.ndarray):
            return self.images[index] if rng is None else augmentation.recolour(self.images[index], rng)
        picture = self.images.read(index)
        return (
            self.preprocessing.apply(picture) if rng is None else augmentation.apply(picture, self.preprocessing, rng)
        )

    def read(self, indices: Labels) -> tuple[ImageU8, Labels]:
        """The images at `indices`, (K, S, S, 3) uint8, as the preprocessing rule gives them, and their indices (K,), without
        those that cannot be read. Raises ImageError when too many cannot."""
        views = list(self.pool.map(self._readable, indices))
        kept = [number for number, view in enumerate(views) if view is not None]
        if len(self.faults) == len(self):
            raise ImageError(f"no picture can be read: {self.faults[int(indices[0])]}")
        size = self.preprocessing.image_size
        images = [view for view in views if view is not None]
        return np.stack(images) if images else np.empty((0, size, size, 3), np.uint8), indices[kept]

    def read_augmented(
        self, indices: Labels, augmentation: Augmentation, generators: Generators
    ) -> tuple[ImageU8, Labels]:
        """As many images as indices, with the indices that were used: an unreadable image is replaced by the next readable
        one."""
        pairs = list(self.pool.map(lambda *some: self._replaced(augmentation, *some), indices, generators))
        return np.stack([view for view, _ in pairs]), np.array([index for _, index in pairs], np.int64)

    def _replaced(self, augmentation: Augmentation, index: int, rng: np.random.Generator) -> tuple[ImageU8, int]:
        for following in range(TRIES):
            taken = int((index + following) % len(self))
            if (view := self._readable(taken, augmentation, rng)) is not None:
                return view, taken
        raise ImageError(f"{TRIES} pictures in a row cannot be read: {self.faults[int(index)]}")

    def _readable(
        self, index: int, augmentation: Augmentation = UNTOUCHED, rng: np.random.Generator | None = None
    ) -> ImageU8 | None:
        if index in self.faults:
            return None
        try:
            return self.view(int(index), augmentation, rng)
        except ImageError as fault:
            self.faults[int(index)] = str(fault)
            logger.warning("passed over: %s", fault)
            if len(self.faults) > max(TOLERATED, TOLERATED_SHARE * len(self)):
                raise ImageError(
                    f"{len(self.faults)} of {len(self)} pictures cannot be read, at last: {fault}"
                ) from None
            return None

    def describe(self) -> str:
        """The data that a run's batches depend on, in a line: number, names and labels of the images."""
        digest = hashlib.sha256("\n".join(self.classes).encode() + self.labels.tobytes()).hexdigest()
        return f"{len(self)} images of {len(self.classes)} classes, labels and names {digest[:12]}"

    def order(self, rng: np.random.Generator) -> Labels:
        """All indices, (N,), in a random order; of shards, one that reads them one after the other."""
        return self.images.order(rng) if isinstance(self.images, Shards) else rng.permutation(len(self))


def open_split(folder: Path, preprocessing: Preprocessing, cells: int | None = None) -> Split:
    """The split that lies in `folder`. Raises ImageError when it holds no known layout, or one that does not fit.

    cells: along a side of the fine grid, for a dense task; None for a classifier.
    """
    if (folder / "images.npy").is_file():
        return _open_arrays(folder, preprocessing, cells)
    require_split(folder)
    if cells is not None:
        raise ImageError(f"{folder} has no images.npy: --task dense reads images.npy with {MASKS_NAME} beside it")
    if shards_at(folder):
        shards, numbers = open_shards(folder)
        classes = _class_names(folder, int(numbers.max()) + 1)
        _require_pictures(folder, classes, numbers)
        return Split(numbers, classes, None, shards, preprocessing)
    names, paths, labels = [], list[Path](), list[int]()
    for label, (name, found) in enumerate(class_pictures(folder).items()):
        if any("\ud800" <= letter <= "\udfff" for letter in name):  # Python's code for a byte that is no UTF-8
            raise ImageError(f"{folder}: the name of a class folder is not UTF-8: {name!r}. Rename it")
        names.append(same_letters(name))
        paths += found
        labels += [label] * len(found)
    if not paths:
        raise ImageError(f"{folder} holds neither images.npy, nor .tar shards, nor class folders with pictures")
    numbers = np.array(labels, np.int64)
    _require_pictures(folder, names, numbers)
    return Split(numbers, names, None, Files(paths), preprocessing)


def require_split(folder: Path) -> None:
    """Raises ImageError where there is no such folder."""
    if not folder.is_dir():
        what = "is missing" if folder.parent.is_dir() else f"is missing: {folder.parent} is no folder"
        raise ImageError(
            f"{folder} {what}. A data folder has train/ and val/, with arrays, .tar shards or class folders inside, as"
            f" DIR/train/CLASS/1.jpg and DIR/val/CLASS/2.jpg"
        )


def _require_pictures(folder: Path, classes: list[str], labels: Labels) -> None:
    """Raises ImageError for a class without a picture, as an empty folder, or labels that are counted from 1."""
    if empty := [classes[label] for label in np.flatnonzero(np.bincount(labels, minlength=len(classes)) == 0)]:
        raise ImageError(
            f"{folder} has classes without a picture: {', '.join(empty[:5])}. Add some, or remove the folder or the name"
        )


def _class_names(folder: Path, count: int) -> list[str]:
    """The lines of classes.txt, or numbers where the classes have no names."""
    if count > MAX_CLASSES:
        raise ImageError(f"{folder}: a label is {count - 1}; the limit is {MAX_CLASSES} classes, counted from 0 on")
    names = folder / CLASSES_NAME
    if not names.is_file():
        return [str(index) for index in range(count)]
    classes = read_class_names(names)
    if len(classes) < count:
        raise ImageError(f"{names} names {len(classes)} classes, but a label is {count - 1}")
    return classes


def _open_arrays(folder: Path, preprocessing: Preprocessing, cells: int | None) -> Split:
    images, labels = open_array_folder(folder)
    size = preprocessing.image_size
    if images.shape[1:] != (size, size, 3) or not len(images):
        raise ImageError(
            f"{folder / 'images.npy'} must be (N, {size}, {size}, 3) uint8, found {images.shape} {images.dtype}"
        )
    if cells is not None:
        labels = read_masks(folder, len(images), size, cells)
    elif labels is None:
        hint = f". Its {MASKS_NAME} is for --task dense" if (folder / MASKS_NAME).is_file() else ""
        raise ImageError(f"{folder} has images.npy, but no labels.npy{hint}")
    if labels.min() < 0:
        raise ImageError(f"{folder / 'labels.npy'}: a label is {labels.min()}; labels are counted from 0 on")
    difficulty = load_array(folder / "difficulty.npy") if (folder / "difficulty.npy").is_file() else None
    if difficulty is not None and (difficulty.shape != labels.shape[:1] or difficulty.dtype.kind not in "iuf"):
        found = f"{difficulty.dtype} {difficulty.shape}"
        raise ImageError(f"{folder / 'difficulty.npy'} must hold {len(images)} numbers, found {found}")
    classes = _class_names(folder, int(labels.max()) + 1)
    graded = None if difficulty is None else difficulty.astype(np.float32)
    return Split(labels, classes, graded, images, preprocessing)
