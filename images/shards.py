"""Pictures in tar files, as WebDataset lays them out: `KEY.jpg` beside `KEY.cls`, which holds the label's number.

A key may hold dots: a.1.jpg belongs to a.1.cls. In WebDataset itself it ends at the first dot, so a.left.jpg also belongs to
a.cls; beside a.jpg, it is another picture of the same example, and is passed over.

Nothing is unpacked. The headers are read once; then pictures come by their place in the file, and training goes through
the shards in an order that reads each one once per epoch.
"""

from __future__ import annotations

import os
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from ..bundle.errors import ImageError
from ..bundle.preprocess import ImageU8
from .decode import MAX_PICTURE_BYTES, decode_picture
from .foreign import HEAD_BYTES, describe_foreign
from .kinds import SUFFIXES

LABEL_SUFFIX = ".cls"
MAX_LABEL_BYTES = 8  # a number below 10 million, and a newline
NEAR = 16384  # pictures that are shuffled among each other: 2 GB of ImageNet's, which the page cache holds


@dataclass
class Shards:
    """Where each picture lies: shard, offset and length in bytes. All (N,)."""

    paths: list[Path]
    shard: npt.NDArray[np.int32]
    offset: npt.NDArray[np.int64]
    length: npt.NDArray[np.int64]
    expected: int = -1  # the place that the system was asked to read ahead last

    def __len__(self) -> int:
        return len(self.shard)

    def read(self, index: int) -> ImageU8:
        """The decoded picture (H, W, 3) BGR. Raises ImageError."""
        path = self.paths[self.shard[index]]
        try:
            with path.open("rb", buffering=0) as file:
                content = os.pread(file.fileno(), int(self.length[index]), int(self.offset[index]))
        except OSError as reason:
            raise ImageError(f"{path} is not readable: {reason.strerror or reason}") from None
        name = f"{path}: the picture at byte {self.offset[index]}"
        if len(content) < self.length[index]:
            raise ImageError(f"{name} is cut short: the file became shorter")
        return decode_picture(content, name)

    def order(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """All indices, (N,): shards in a random order, and `NEAR` neighbours in that order shuffled among each other."""
        places = rng.permutation(len(self.paths))
        order = np.argsort(places[self.shard], kind="stable")
        for start in range(0, len(order), NEAR):
            rng.shuffle(order[start : start + NEAR])
        return order

    def expect(self, order: npt.NDArray[np.int64], place: int) -> None:
        """Asks the system to read ahead what follows `place` in an order, each shard from front to back."""
        window = place // NEAR
        if window == self.expected:
            return
        self.expected = window
        for number in np.unique(self.shard[order[window * NEAR : (window + 2) * NEAR]]):
            with self.paths[number].open("rb", buffering=0) as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)


def shards_at(path: Path) -> list[Path]:
    """The tar files at a path: one file, or those right in a folder; hidden ones are passed over."""
    found = [path] if path.is_file() else path.glob("*.tar")
    return sorted(one for one in found if one.suffix.lower() == ".tar" and not one.name.startswith("."))


def open_shards(source: Path) -> tuple[Shards, npt.NDArray[np.int64]]:
    """The shards at a path and their labels (N,). Raises ImageError for a tar file that does not hold such pairs."""
    paths = shards_at(source)
    # One array per shard: for a million pictures, Python's own numbers would take ten times the memory.
    tables = [np.array(read_headers(path), np.int64).reshape(-1, 3) for path in paths]
    offset, length, labels = np.ascontiguousarray(np.concatenate(tables).T)
    if not len(labels):
        raise ImageError(f"{source}: no picture in {len(paths)} .tar files")
    shard = np.repeat(np.arange(len(paths), dtype=np.int32), [len(table) for table in tables])
    return Shards(paths, shard, offset, length), labels


def read_headers(path: Path) -> list[tuple[int, int, int]]:
    """Offset, length and label of each picture of one tar file, in its order."""
    pictures: dict[str, tuple[int, int]] = {}
    labels: dict[str, int] = {}
    try:
        with tarfile.open(path, "r:") as archive:  # uncompressed: pictures are read by their place
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # tarfile would keep them all
                name = PurePosixPath(member.name)
                suffix = name.suffix.lower()
                if not member.isfile() or suffix not in (*SUFFIXES, LABEL_SUFFIX) or name.name.startswith("."):
                    continue
                key = str(name.with_suffix(""))
                if suffix == LABEL_SUFFIX:
                    labels[key] = read_label(archive, member, path)
                elif key in pictures:
                    raise ImageError(f"{path} has two pictures by the name {key}")
                elif member.size > MAX_PICTURE_BYTES:
                    limit = MAX_PICTURE_BYTES >> 20
                    raise ImageError(f"{path}: {name} has {member.size >> 20} MiB; the limit is {limit} MiB")
                else:
                    pictures[key] = (member.offset_data, member.size)
            require_end(archive)
    except (tarfile.TarError, EOFError, ValueError) as reason:
        with path.open("rb") as file:
            foreign = describe_foreign(file.read(HEAD_BYTES))
        if foreign is not None:
            raise ImageError(f"{path} is {foreign[0]}, not an uncompressed tar file. {foreign[1]}") from None
        raise ImageError(f"{path} is no uncompressed tar file, or was cut short: {reason}. Copy it again") from None
    pair_by_first_dot(path, pictures, labels)
    if lonely := pictures.keys() ^ labels.keys():
        key = min(lonely)
        missing = f"has no {LABEL_SUFFIX} with its label" if key in pictures else "is a label without a picture"
        raise ImageError(f"{path}: {key} {missing}; {len(lonely)} such in this file")
    return [(*place, labels[key]) for key, place in pictures.items()]


def pair_by_first_dot(path: Path, pictures: dict[str, tuple[int, int]], labels: dict[str, int]) -> None:
    """Gives pictures without a label of their own that of the key up to the first dot, or removes them: see above."""
    others: dict[str, list[str]] = {}
    for key in pictures.keys() - labels.keys():
        folder, slash, name = key.rpartition("/")
        others.setdefault(f"{folder}{slash}{name.split('.')[0]}", []).append(key)
    for start, found in others.items():
        if start not in labels or found == [start]:
            continue
        if start not in pictures:
            if len(found) > 1:
                first, second = sorted(found)[:2]
                raise ImageError(
                    f"{path}: {start} has several pictures, {first} and {second}; keep one of each example"
                )
            pictures[start] = pictures[found[0]]
        for key in found:
            del pictures[key]


def require_end(archive: tarfile.TarFile) -> None:
    """Raises ReadError unless a tar's end mark stands where its headers end: tarfile takes a damaged header, and a cut
    between two files, for the end."""
    file = archive.fileobj
    assert file is not None  # it was opened to read
    file.seek(archive.offset)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError(f"neither a header nor the end mark at byte {archive.offset}")


def read_label(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> int:
    file = archive.extractfile(member)
    text = file.read(MAX_LABEL_BYTES + 1).decode("ascii", "replace").strip() if file else ""
    if not text.isdecimal() or len(text) >= MAX_LABEL_BYTES:
        raise ImageError(f"{path}: {member.name} must hold a class's number, found {text!r}")
    return int(text)
