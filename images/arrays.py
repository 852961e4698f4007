"""Images in NumPy's files: a folder with images.npy and labels.npy, or an .npz; untrusted, and never a pickle.

DIR/images.npy [labels.npy]   (N, H, W, 3) uint8 RGB and (N,) whole numbers
FILE.npz                      the same as `images` or `image`, and `labels`
"""

from __future__ import annotations

import stat
import threading
import weakref
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ..bundle.arrays import UNREADABLE, load_array
from ..bundle.errors import ImageError
from ..bundle.preprocess import ImageU8

MAX_IMAGE_BYTES = 256 << 20  # of one image
ARRAY_NAMES = ("images", "image")  # of sacvit; of NVIDIA Model-Optimizer, by the graph's input
KEPT = 16  # images that an archive's reader keeps, for threads that ask for them out of order

Labels = npt.NDArray[np.int64]


def is_array_folder(path: Path) -> bool:
    return path.is_dir() and (path / "images.npy").is_file()


def open_array_folder(folder: Path) -> tuple[ImageU8, Labels | None]:
    """The images (N, H, W, 3) RGB, mapped, and their labels (N,); None without labels.npy. Raises ImageError."""
    images = load_array(folder / "images.npy", "r")
    require_pictures(folder / "images.npy", images.shape, images.dtype)
    path = folder / "labels.npy"
    return images, None if not path.exists() else require_labels(path, load_array(path), len(images))


def read_image(folder: Path, index: int) -> ImageU8:
    """One image (H, W, 3) BGR. Raises ImageError.

    The file is mapped anew each time: pages that were read count as this process's memory until the mapping is closed.
    """
    images = load_array(folder / "images.npy", "r")
    if index >= len(images):
        raise ImageError(f"{folder / 'images.npy'} became shorter: image {index} is missing")
    return np.ascontiguousarray(images[index][..., ::-1])


class Archive:
    """An .npz, read as a stream: a stored archive cannot be mapped, and a compressed one may be larger than it looks.

    `read` may be called by several threads; it is fast where indices rise.
    """

    def __init__(self, path: Path) -> None:
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise ImageError(f"{path} is no regular file")
            with zipfile.ZipFile(path) as file:
                members = {name.removesuffix(".npy"): name for name in file.namelist() if name.endswith(".npy")}
                name = next((members[name] for name in ARRAY_NAMES if name in members), None)
                if name is None:
                    raise ImageError(f"{path} has no array `images`; found {', '.join(sorted(members)) or 'none'}")
                with file.open(name) as stream:
                    shape, dtype = read_header(path, stream)
                stored = file.getinfo(name).file_size
                labels = _read_labels(path, file, members["labels"], shape) if "labels" in members else None
        except UNREADABLE as reason:
            raise ImageError(f"{path} is no readable .npz: {reason}") from None
        require_pictures(path, shape, dtype)
        if int(np.prod(shape, dtype=object)) > stored:
            raise ImageError(f"{path} claims {shape[0]} images, but holds {stored} bytes")
        self.path, self.member, self.shape = path, name, shape
        self.labels = None if labels is None else require_labels(path, labels, shape[0])
        self._lock = threading.Lock()
        self._stream: IO[bytes] | None = None
        self._close: weakref.finalize[..., Archive] | None = None
        self._next = 0
        self._kept: OrderedDict[int, ImageU8] = OrderedDict()

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, index: int) -> ImageU8:
        """One image (H, W, 3) BGR. Raises ImageError."""
        with self._lock:
            if index in self._kept:
                return self._kept[index]
            if self._stream is None or index < self._next:
                self._rewind()
            size = int(np.prod(self.shape[1:]))
            content = b""
            for following in range(self._next, index + 1):
                try:
                    assert self._stream is not None  # rewound
                    content = self._stream.read(size)
                except UNREADABLE as reason:
                    raise ImageError(f"{self.path} is damaged at image {following}: {reason}") from None
                if len(content) < size:
                    raise ImageError(f"{self.path} ends at image {following} of {self.shape[0]}")
                self._next = following + 1
            image = np.frombuffer(content, np.uint8).reshape(self.shape[1:])
            self._kept[index] = np.ascontiguousarray(image[..., ::-1])
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return self._kept[index]

    def _rewind(self) -> None:
        if self._close is not None:
            self._close()
        try:
            # The member's stream keeps the file open. It is closed here, or when this archive is deleted.
            self._stream, self._next = zipfile.ZipFile(self.path).open(self.member), 0  # noqa: SIM115
            self._close = weakref.finalize(self, self._stream.close)
            read_header(self.path, self._stream)
        except UNREADABLE as reason:
            raise ImageError(f"{self.path} is no readable .npz: {reason}") from None


def _read_labels(path: Path, file: zipfile.ZipFile, member: str, images: tuple[int, ...]) -> npt.NDArray[Any]:
    with file.open(member) as stream:
        shape, dtype = read_header(path, stream)
        if shape != images[:1] or dtype.kind not in "iu":
            raise ImageError(f"{path}: labels must be {images[:1]} whole numbers, found {dtype} {shape}")
        # The member's own length bounds what is read, whatever the header claims.
        return np.frombuffer(stream.read(min(shape[0] * dtype.itemsize, file.getinfo(member).file_size)), dtype)


def read_header(path: Path, stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of the array that begins in a stream, which then stands at its first byte."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    if fortran and len(shape) > 1:
        raise ImageError(f"{path}: arrays must be in C order")
    return shape, dtype


def require_pictures(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if len(shape) != 4 or shape[3] != 3 or dtype != np.uint8 or np.prod(shape[1:], dtype=float) > MAX_IMAGE_BYTES:
        raise ImageError(f"{path}: images must be (N, H, W, 3) uint8 RGB, found {dtype} {shape}")
    if min(shape) < 0 or 0 in shape[1:]:
        raise ImageError(f"{path}: images must have pixels, found {shape}")


def require_labels(path: Path, labels: npt.NDArray[Any], count: int) -> Labels:
    """The labels as int64. Raises ImageError unless they are `count` whole numbers that can be classes."""
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise ImageError(f"{path} must hold {count} whole numbers, found {labels.dtype} {labels.shape}")
    if count and int(labels.max()) > np.iinfo(np.int64).max:
        raise ImageError(f"{path}: a label is {labels.max()}, which no class can have")
    return labels.astype(np.int64)
