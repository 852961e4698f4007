"""Labelled pictures: one folder a class, a CSV of path,label, or the arrays that sacvit-train reads.

    DIR/CLASS/**/*.jpg            the folder's name is the label
    LIST.csv                      path,label a line, paths below the list's own folder; a first line `path,label` is skipped
    DIR/images.npy, labels.npy    (N, H, W, 3) uint8 RGB and (N,) whole numbers

A label is a class's name where the engine or --labels names classes, or its number.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..bundle.arrays import load_array
from ..bundle.errors import ImageError, nearest
from ..bundle.preprocess import ImageU8
from .decode import SUFFIXES, class_folders, pictures_below, read_picture

MAX_LIST_BYTES = 1 << 30
MAX_FIELD = 4096
SHOWN = 3


@dataclass(frozen=True)
class Labelled:
    """`count` images, each with a name that stays its own when others come or go.

    key: a hash of names, sizes, times of change and labels: another data set has another. read: image `index`, (H, W, 3)
    uint8 BGR; raises ImageError for one that cannot be read; several threads may call it. home: the folder that names start
    from.
    """

    source: str
    home: Path
    names: Sequence[str]
    labels: npt.NDArray[np.int64]
    key: str
    read: Callable[[int], ImageU8]

    @property
    def count(self) -> int:
        return len(self.names)


def open_labelled(path: Path, classes: int, class_names: Sequence[str] | None) -> Labelled:
    """The images at a path. Raises ImageError when there are none, or labels do not fit the model."""
    if path.is_dir() and (path / "images.npy").is_file():
        found = _arrays(path)
    elif path.is_dir():
        found = _folders(path, classes, class_names)
    elif path.suffix.lower() == ".csv" and path.is_file():
        found = _list(path, classes, class_names)
    else:
        what = "is neither a folder nor a .csv file" if path.exists() else "does not exist"
        raise ImageError(
            f"--data {path} {what}; give one folder a class, a CSV of path,label, or images.npy and labels.npy"
        )
    if found.count < 2:
        raise ImageError(f"--data {path} holds {found.count} images: one half is fitted on, the other reported")
    low, high = int(found.labels.min()), int(found.labels.max())
    if low < 0 or high >= classes:
        raise ImageError(f"--data {path}: labels go from {low} to {high}, the model has {classes} classes from 0 on")
    return found


def _folders(folder: Path, classes: int, class_names: Sequence[str] | None) -> Labelled:
    by_class = {entry.name: pictures_below(entry) for entry in class_folders(folder)}
    if not by_class:
        raise ImageError(
            f"--data {folder} has no folders: one folder of pictures a class is wanted, or a CSV, or images.npy"
        )
    empty = [name for name, paths in by_class.items() if not paths]
    if empty:
        raise ImageError(
            f"--data {folder}: no picture in {', '.join(empty[:SHOWN])}{' ...' if len(empty) > SHOWN else ''}:"
            f" remove empty classes, or fill them ({', '.join(SUFFIXES)})"
        )
    numbers = _class_numbers(folder, list(by_class), classes, class_names)
    paths = [path for name in by_class for path in by_class[name]]
    labels = np.array([numbers[name] for name in by_class for _ in by_class[name]], np.int64)
    names = [path.relative_to(folder).as_posix() for path in paths]
    return _of_files(str(folder), folder.resolve(), names, paths, labels)


def _list(path: Path, classes: int, class_names: Sequence[str] | None) -> Labelled:
    if path.stat().st_size > MAX_LIST_BYTES:
        raise ImageError(f"--data {path} has {path.stat().st_size} bytes; the limit is {MAX_LIST_BYTES}")
    home = path.resolve().parent
    names: list[str] = []
    paths: list[Path] = []
    given: list[str] = []
    csv.field_size_limit(MAX_FIELD)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, row in enumerate(csv.reader(file), start=1):
                if not row or (number == 1 and [cell.strip().lower() for cell in row] == ["path", "label"]):
                    continue
                if len(row) != 2 or not row[0].strip() or not row[1].strip():
                    raise ImageError(
                        f"--data {path}, line {number}: a path and a label are wanted, found {len(row)} fields"
                    )
                picture = (home / row[0].strip()).resolve()
                if not picture.is_relative_to(home):
                    raise ImageError(
                        f"--data {path}, line {number}: {row[0]} lies outside {home}; put the list beside its pictures"
                    )
                names.append(picture.relative_to(home).as_posix())
                paths.append(picture)
                given.append(row[1].strip())
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as reason:
        raise ImageError(f"--data {path} is no readable CSV: {reason}") from None
    if len(set(names)) < len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise ImageError(
            f"--data {path}: {twice} stands there twice; in both halves it would be fitted and reported on"
        )
    numbers = _class_numbers(path, list(dict.fromkeys(given)), classes, class_names)
    return _of_files(str(path), home, names, paths, np.array([numbers[label] for label in given], np.int64))


def _class_numbers(path: Path, found: Sequence[str], classes: int, class_names: Sequence[str] | None) -> dict[str, int]:
    """A number for each label: by the model's names, else as numbers, else in order of the names where all are there."""
    if class_names is not None:
        known = {name: index for index, name in enumerate(class_names)}
        if set(found) <= set(known):
            for name, times in Counter(class_names).items():
                if times > 1 and name in found:
                    raise ImageError(
                        f"--data {path}: {times} classes of the model are called {name!r}, so which is meant is open."
                        f" Give labels as numbers, 0 to {classes - 1}"
                    )
            return {name: known[name] for name in found}
        if not all(_is_number(name) for name in found):
            strange = [name for name in found if name not in known]
            raise ImageError(
                f"--data {path}: {len(strange)} labels are no class of the model, as {strange[0]!r}"
                f"{nearest(strange[0], known)}. Give the names in the model's order: --labels FILE"
            )
    if all(_is_number(name) for name in found):
        return {name: int(name) for name in found}
    if len(found) != classes:
        raise ImageError(
            f"--data {path}: {len(found)} names of classes, the model has {classes} and carries no names, so which is which"
            f" is open. Give the names in the model's order: --labels FILE"
        )
    return {name: index for index, name in enumerate(sorted(found))}


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) < 10


def _of_files(source: str, home: Path, names: list[str], paths: list[Path], labels: npt.NDArray[np.int64]) -> Labelled:
    def facts() -> Iterable[str]:
        for name, path, label in zip(names, paths, labels, strict=True):
            try:
                found = path.stat()
                yield f"{name}\0{found.st_size}\0{found.st_mtime_ns}\0{label}\n"
            except OSError:
                yield f"{name}\0missing\0{label}\n"

    return Labelled(source, home, names, labels, _hash(facts()), lambda index: read_picture(paths[index]))


def _arrays(folder: Path) -> Labelled:
    images, labels = load_array(folder / "images.npy", "r"), load_array(folder / "labels.npy")
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise ImageError(
            f"{folder / 'images.npy'}: images must be (N, H, W, 3) uint8 RGB, found {images.dtype} {images.shape}"
        )
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        raise ImageError(
            f"{folder / 'labels.npy'} must hold {len(images)} whole numbers, found {labels.dtype} {labels.shape}"
        )
    path, count = folder / "images.npy", len(images)
    del images

    def read(index: int) -> ImageU8:
        # Mapped anew each time: pages that a mapping has seen count as this process's memory until it is closed.
        return np.ascontiguousarray(load_array(path, "r")[index][..., ::-1])

    found = path.stat()
    key = _hash([f"{found.st_size}\0{found.st_mtime_ns}\n", hashlib.sha256(labels.tobytes()).hexdigest()])
    names = [f"images.npy/{index}" for index in range(count)]
    return Labelled(str(folder), folder.resolve(), names, labels.astype(np.int64), key, read)


def _hash(parts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
