"""Images with or without labels, wherever they lie: the layouts that every command reads, in a table.

The images of a data set come in the same order every time, and its labels are numbers of the model's classes. A new layout
is one row of `LAYOUTS`, and a function that opens it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..bundle.errors import ImageError
from ..bundle.preprocess import ImageU8
from .arrays import Archive, Labels, is_array_folder, open_array_folder, read_image
from .boxes.columns import Boxes
from .class_names import CLASSES_NAME, UnknownClassesError, class_numbers, read_class_names
from .decode import read_picture
from .kinds import SUFFIXES
from .lists import Listed, read_csv, read_list, require_first
from .pictures import class_pictures, pictures_below
from .shards import open_shards, shards_at


@dataclass(frozen=True)
class DataSet:
    """Images, each with a name that stays the same when images are added or removed.

    home: the folder that names start from. read: image `index`, (H, W, 3) uint8 BGR; raises ImageError for one that cannot be
    read; several threads may call it. labels: (N,); None where there are none; `why_unlabelled` gives the reason. key: a hash
    of names, sizes, times of change and labels, which differs between data sets. boxes: of each image; None
    without such columns.
    """

    source: str
    home: Path
    names: Sequence[str]
    read: Callable[[int], ImageU8]
    labels: Labels | None
    why_unlabelled: str
    key: Callable[[], str]
    boxes: Sequence[Boxes] | None = None

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Request:
    """The data set to open. option: the flag that named the path; classes, names: of the model."""

    path: Path
    option: str
    classes: int
    names: Sequence[str] | None

    @property
    def where(self) -> str:
        return f"{self.option} {self.path}"


@dataclass(frozen=True)
class Layout:
    help: str
    matches: Callable[[Path], bool]
    open: Callable[[Request], DataSet]


def open_data_set(path: Path, option: str, classes: int, names: Sequence[str] | None) -> DataSet:
    """The images at a path. Raises ImageError if there are none, and if labels do not fit the model."""
    found = layout_of(path, option).open(Request(path, option, classes, names))
    if not len(found):
        raise ImageError(f"{option} {path} holds no images; expected {describe_layouts()}")
    if found.labels is not None and (found.labels.min() < 0 or found.labels.max() >= classes):
        low, high = found.labels.min(), found.labels.max()
        raise ImageError(f"{option} {path}: labels go from {low} to {high}, the model has {classes} classes from 0 on")
    return found


def layout_of(path: Path, option: str) -> Layout:
    """The layout of the data set at a path. Raises ImageError where there is none, or none that is known."""
    if not path.exists():
        raise ImageError(f"{option} {path} does not exist; give {describe_layouts()}")
    layout = next((layout for layout in LAYOUTS if layout.matches(path)), None)
    if layout is None:
        raise ImageError(f"{option} {path} is none of: {describe_layouts()}")
    return layout


def describe_layouts() -> str:
    return "; ".join(layout.help for layout in LAYOUTS)


def _array_folder(request: Request) -> DataSet:
    folder = request.path
    images, labels = open_array_folder(folder)
    names = [f"images.npy/{index}" for index in range(len(images))]
    return _numbered(request, [folder / "images.npy"], names, lambda index: read_image(folder, index), labels)


def _archive(request: Request) -> DataSet:
    archive = Archive(request.path)
    names = [f"{request.path.name}/{index}" for index in range(len(archive))]
    return _numbered(request, [request.path], names, archive.read, archive.labels)


def _shards(request: Request) -> DataSet:
    shards, labels = open_shards(request.path)
    names = [
        f"{shards.paths[shard].name}/{offset}"
        for shard, offset in zip(shards.shard, shards.offset.tolist(), strict=True)
    ]
    return _numbered(request, shards.paths, names, shards.read, labels)


def _numbered(
    request: Request, files: list[Path], names: list[str], read: Callable[[int], ImageU8], labels: Labels | None
) -> DataSet:
    """Images whose labels are numbers: lines of classes.txt beside them, else the model's classes."""
    home = request.path if request.path.is_dir() else request.path.parent
    if labels is not None and len(labels):
        labels = _by_names(request, home / CLASSES_NAME, labels)
    key = _hash_once(lambda: [*_facts(map(str, files), files), "" if labels is None else _digest(labels.tobytes())])
    why = "" if labels is not None else f"{request.where} has no labels"
    return DataSet(str(request.path), home.resolve(), names, read, labels, why, key)


def _by_names(request: Request, file: Path, labels: Labels) -> Labels:
    """The model's class of each label, by its name in classes.txt. Without that file, or for a model without names, the labels
    are unchanged. Raises ImageError where the names are not the model's."""
    if request.names is None or not file.is_file():
        return labels
    names = read_class_names(file)
    used = np.unique(labels)
    if used[0] < 0 or used[-1] >= len(names):
        raise ImageError(
            f"{request.where}: labels go from {used[0]} to {used[-1]}, but {file} names {len(names)} classes"
        )
    numbers = class_numbers(request.where, [names[label] for label in used], request.classes, request.names)
    return np.array([numbers[names[label]] for label in used], np.int64)[np.searchsorted(used, labels)]


def _folders(request: Request) -> DataSet:
    """The pictures in folders named like the model's classes; with other folders all pictures, without labels."""
    folder = request.path
    by_class = {name: paths for name, paths in class_pictures(folder).items() if paths}
    try:
        if not by_class:
            raise UnknownClassesError(f"{request.where} has no folders with pictures: one folder per class is wanted")
        numbers = class_numbers(request.where, list(by_class), request.classes, request.names)
    except UnknownClassesError as reason:
        paths = pictures_below(folder)
        return _files(
            request, folder.resolve(), [one.relative_to(folder).as_posix() for one in paths], paths, None, reason
        )
    paths = [path for name in by_class for path in by_class[name]]
    labels = np.array([numbers[name] for name in by_class for _ in by_class[name]], np.int64)
    return _files(request, folder.resolve(), [one.relative_to(folder).as_posix() for one in paths], paths, labels)


def _listed(read: Callable[[Path], Listed]) -> Callable[[Request], DataSet]:
    def opened(request: Request) -> DataSet:
        listed = read(request.path)
        require_first(request.path, listed)
        labels = None
        if listed.labels is not None:
            distinct = list(dict.fromkeys(listed.labels))
            numbers = class_numbers(request.where, distinct, request.classes, request.names) if distinct else {}
            labels = np.array([numbers[label] for label in listed.labels], np.int64)
        found = _files(request, listed.home, listed.names, listed.paths, labels)
        return replace(found, boxes=listed.boxes)

    return opened


def _files(
    request: Request,
    home: Path,
    names: list[str],
    paths: list[Path],
    labels: Labels | None,
    why: object = "",
) -> DataSet:
    key = _hash_once(lambda: [*_facts(names, paths), "" if labels is None else _digest(labels.tobytes())])
    unlabelled = "" if labels is not None else str(why) or f"{request.where} has no labels"
    return DataSet(str(request.path), home, names, lambda index: read_picture(paths[index]), labels, unlabelled, key)


def _facts(names: Iterable[str], paths: list[Path]) -> Iterable[str]:
    for name, path in zip(names, paths, strict=True):
        try:
            found = path.stat()
            yield f"{name}\0{found.st_size}\0{found.st_mtime_ns}\n"
        except (OSError, ValueError):
            yield f"{name}\0missing\n"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _hash_once(parts: Callable[[], Iterable[str]]) -> Callable[[], str]:
    def key() -> str:
        digest = hashlib.sha256()
        for part in parts():
            digest.update(part.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    return key


LAYOUTS = (
    Layout("a folder with images.npy and labels.npy", is_array_folder, _array_folder),
    Layout("tar shards (.tar), or a folder of them", lambda path: bool(shards_at(path)), _shards),
    Layout(f"a folder of pictures ({' '.join(SUFFIXES)}), with one folder per class", Path.is_dir, _folders),
    Layout("a CSV of path,label (.csv, .tsv)", lambda path: path.suffix.lower() in (".csv", ".tsv"), _listed(read_csv)),
    Layout("a list with a picture per line (.txt)", lambda path: path.suffix.lower() == ".txt", _listed(read_list)),
    Layout("arrays (.npz)", lambda path: path.suffix.lower() == ".npz", _archive),
)
