"""Calibration and evaluation images: a folder, a list or an .npz, in an order and with a hash that repeat.

    DIR/**/*.{jpg,png,...}           pictures; where DIR holds one folder a class, those are the labels
    DIR/images.npy [labels.npy]      arrays, as sacvit-train reads them
    LIST.txt                         a picture a line, below the list's own folder; a label may follow after a tab or blank
    FILE.npz                         `images` or `image` (N, H, W, 3) uint8 RGB, and `labels` (N,) where they are known

Nothing is held in memory but one piece: images are read again for every pass.
"""

from __future__ import annotations

import hashlib
import json
import stat
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ..bundle.arrays import UNREADABLE, load_array
from ..bundle.errors import ImageError, UsageError
from ..bundle.preprocess import ImageU8, Preprocessing
from .decode import SUFFIXES, pictures_below, read_picture

MAX_LIST_BYTES = 256 << 20  # ImageNet's training list has 60 MB
LONGEST_LABEL = 1000  # digits: Python refuses to read numbers of 4300
MAX_IMAGE_BYTES = 256 << 20  # of one image in an array: as bundle/pictures.py
ARRAY_NAMES = ("images", "image")  # ours; NVIDIA Model-Optimizer's, which names the graph's input

Labels = npt.NDArray[np.int64]
Reader = Callable[[npt.NDArray[np.int64]], Iterator[ImageU8]]


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

    classes, names: what labels may be, and what folders of labels are called. option: names the flag in messages.
    Raises ImageError for a path without images, an image that cannot be read, or labels that do not fit.
    """
    if count is not None and count < 1:
        raise UsageError(f"the number of images for {option} must be at least 1, found {count}")
    if path.is_dir() and (path / "images.npy").is_file():
        total, labels, reader = _array_folder(path)
    elif path.is_dir():
        total, labels, reader = _picture_folder(path, names)
    elif path.suffix.lower() == ".npz":
        total, labels, reader = _archive(path)
    elif path.suffix.lower() == ".txt":
        total, labels, reader = _list(path)
    elif path.exists():
        raise ImageError(f"{option} {path} is none of: a folder, a list (.txt), arrays (.npz)")
    else:
        raise ImageError(f"{option} {path} does not exist; give a folder of pictures, a list (.txt) or arrays (.npz)")
    if not total:
        raise ImageError(f"{option} {path} holds no images: expected {', '.join(SUFFIXES)}, or images.npy")
    if labels is not None and (labels.min() < 0 or labels.max() >= classes):
        raise ImageError(
            f"{option} {path}: labels go from {labels.min()} to {labels.max()}, the model has {classes} classes from 0 on"
        )
    chosen = np.arange(total) if count is None or count >= total else np.arange(count) * total // count

    def read() -> Iterator[ImageU8]:
        for image in reader(chosen):
            yield preprocessing.apply(image, bgr=False)

    digest = hashlib.sha256(json.dumps(preprocessing.to_dict()).encode())
    seen = set()
    for image in read():
        pixels = hashlib.sha256(image.tobytes()).digest()
        digest.update(pixels)
        seen.add(pixels)
        progress(1)
    if len(seen) == 1 and len(chosen) > 1:
        raise ImageError(f"{option} {path}: all {len(chosen)} images are one and the same; give different ones")
    kept = None if labels is None else labels[chosen]
    return ImageSet(str(path), len(chosen), total, len(seen), digest.hexdigest(), kept, read)


Source = tuple[int, Labels | None, Reader]


def _picture_folder(folder: Path, names: list[str] | None) -> Source:
    found = pictures_below(folder)
    paths = [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    parents = [path.relative_to(folder).parts[0] for path in paths]
    classes = sorted(set(parents))
    known = {name: index for index, name in enumerate(names if names and set(classes) <= set(names) else classes)}
    # One folder a class, with the pictures right inside; anything else has no labels.
    labelled = len(classes) > 1 and all(len(path.relative_to(folder).parts) == 2 for path in paths)
    labels = np.array([known[parent] for parent in parents], np.int64) if labelled else None
    return len(paths), labels, _picture_reader(paths)


def _list(path: Path) -> Source:
    _require_file(path, MAX_LIST_BYTES)
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as reason:
        raise ImageError(f"{path} is no readable list: {reason}") from None
    home = path.resolve().parent
    paths, labels = [], []
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        name, _, label = line.replace("\t", " ").rpartition(" ")
        name = name.rstrip()
        if not name or not label.isdecimal() or len(label) > LONGEST_LABEL:
            name, label = line, ""
        try:
            picture = (home / name).resolve()
        except (OSError, ValueError, RuntimeError) as reason:
            raise ImageError(f"{path}, line {number}: {name!r} is no path: {reason}") from None
        if not picture.is_relative_to(home):
            raise ImageError(f"{path}, line {number}: {name} lies outside {home}; put the list beside its pictures")
        paths.append(picture)
        labels.append(min(int(label), 1 << 62) if label else None)
    if None in labels:
        missing = labels.index(None)
        if any(label is not None for label in labels):
            raise ImageError(f"{path}: {paths[missing]} has no label, but other lines have one")
        return len(paths), None, _picture_reader(paths)
    return len(paths), np.array(labels, np.int64), _picture_reader(paths)


def _picture_reader(paths: list[Path]) -> Reader:
    def reader(chosen: npt.NDArray[np.int64]) -> Iterator[ImageU8]:
        for index in chosen:
            yield np.ascontiguousarray(read_picture(paths[index])[..., ::-1])

    return reader


def _array_folder(folder: Path) -> Source:
    images = load_array(folder / "images.npy", "r")
    _require_pictures(folder / "images.npy", images.shape, images.dtype)
    labels = load_array(folder / "labels.npy") if (folder / "labels.npy").is_file() else None

    def reader(chosen: npt.NDArray[np.int64]) -> Iterator[ImageU8]:
        for index in chosen:
            yield np.array(images[index])

    return len(images), _fitting_labels(folder / "labels.npy", labels, len(images)), reader


def _archive(path: Path) -> Source:
    """An .npz, read as a stream: a stored archive cannot be mapped, and a compressed one may be larger than it looks."""
    _require_file(path, None)
    try:
        with zipfile.ZipFile(path) as file:
            members = {name.removesuffix(".npy"): name for name in file.namelist() if name.endswith(".npy")}
            name = next((members[name] for name in ARRAY_NAMES if name in members), None)
            if name is None:
                raise ImageError(f"{path} has no array `images`; found {', '.join(sorted(members)) or 'none'}")
            with file.open(name) as stream:
                shape, dtype = _header(path, stream)
            labels = None
            if "labels" in members:
                with file.open(members["labels"]) as stream:
                    label_shape, label_dtype = _header(path, stream)
                    if label_shape != shape[:1] or label_dtype.kind not in "iu":
                        found = f"{label_dtype} {label_shape}"
                        raise ImageError(f"{path}: labels must be {shape[:1]} whole numbers, found {found}")
                    labels = np.frombuffer(stream.read(shape[0] * label_dtype.itemsize), label_dtype)
            stored = file.getinfo(name).file_size
    except UNREADABLE as reason:
        raise ImageError(f"{path} is no readable .npz: {reason}") from None
    _require_pictures(path, shape, dtype)
    if shape[0] * int(np.prod(shape[1:])) > stored:
        raise ImageError(f"{path} claims {shape[0]} images, but holds {stored} bytes")
    size = int(np.prod(shape[1:]))

    def reader(chosen: npt.NDArray[np.int64]) -> Iterator[ImageU8]:
        wanted = iter(chosen.tolist())
        with zipfile.ZipFile(path) as file, file.open(name) as stream:
            _header(path, stream)
            following = next(wanted, None)
            for index in range(shape[0]):
                if following is None:
                    return
                try:
                    content = stream.read(size)
                except UNREADABLE as reason:
                    raise ImageError(f"{path} is damaged at image {index}: {reason}") from None
                if len(content) < size:
                    raise ImageError(f"{path} ends at image {index} of {shape[0]}")
                if index == following:
                    yield np.frombuffer(content, np.uint8).reshape(shape[1:])
                    following = next(wanted, None)

    return shape[0], _fitting_labels(path, labels, shape[0]), reader


def _header(path: Path, stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    if fortran and len(shape) > 1:
        raise ImageError(f"{path}: arrays must be in C order")
    return shape, dtype


def _require_pictures(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if len(shape) != 4 or shape[3] != 3 or dtype != np.uint8 or np.prod(shape[1:], dtype=float) > MAX_IMAGE_BYTES:
        raise ImageError(f"{path}: images must be (N, H, W, 3) uint8 RGB, found {shape} {dtype}")
    if min(shape) < 0 or 0 in shape[1:]:
        raise ImageError(f"{path}: images must have pixels, found {shape}")


def _fitting_labels(path: Path, labels: npt.NDArray[Any] | None, count: int) -> Labels | None:
    if labels is None:
        return None
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise ImageError(f"{path} must hold {count} whole numbers, found {labels.dtype} {labels.shape}")
    return labels.astype(np.int64)


def _require_file(path: Path, limit: int | None) -> None:
    try:
        found = path.stat()
    except OSError as reason:
        raise ImageError(f"{path} is not readable: {reason.strerror or reason}") from None
    if not stat.S_ISREG(found.st_mode):
        raise ImageError(f"{path} is no regular file")
    if limit is not None and found.st_size > limit:
        raise ImageError(f"{path} has {found.st_size >> 20} MiB; the limit is {limit >> 20} MiB")
