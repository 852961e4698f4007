"""A cache of measured ranges. Each file names exactly what it was measured on.

One JSON file per observation, named after a hash of its key. The key is also inside and is compared: another graph, other
images, another count or another version of this code use another file, and a renamed or replaced file is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated

import msgspec

from ..bundle.errors import SacvitError
from ..bundle.records import read_record, write_record

VERSION = (
    2  # of what is measured, how, and the file's form: raise it when one of them changes, so that old files are not met
)
Magnitude = Annotated[float, msgspec.Meta(ge=0)]


@dataclass(frozen=True)
class CacheKey:
    """The inputs that ranges depend on. data_sha256 covers the pixels, and for SAC the EE graph and the gate before it."""

    graph_sha256: str
    data_sha256: str
    method: str
    count: int
    version: int = VERSION

    def file_name(self, stage: str) -> str:
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        return f"{stage.lower()}-{digest[:16]}.json"


class Ranges(msgspec.Struct, frozen=True):
    """The ranges of one graph: of each quantized activation; the largest |x| of every tensor; the number of images."""

    ranges: dict[str, Magnitude]
    largest: dict[str, Magnitude]
    images: Annotated[int, msgspec.Meta(ge=1)]


class _File(msgspec.Struct, frozen=True):
    key: CacheKey
    measured: Ranges


def read_ranges(folder: Path, stage: str, key: CacheKey, tensors: Iterable[str] = ()) -> Ranges | None:
    """The ranges under this key, or None when there are none.

    Raises SacvitError for a file with another key than its name, or one that lacks one of `tensors`.
    """
    path = folder / key.file_name(stage)
    if not path.is_file():
        return None
    cure = "Delete it, and it is measured again"
    found = read_record(path, _File, cure, SacvitError)
    if found.key != key:
        other = [entry.name for entry in fields(CacheKey) if getattr(found.key, entry.name) != getattr(key, entry.name)]
        raise SacvitError(f"{path} was measured with another {', '.join(other)} than its name says. {cure}")
    if missing := sorted(set(tensors) - set(found.measured.ranges)):
        raise SacvitError(f"{path} has no range for {', '.join(missing)}. {cure}")
    return found.measured


def write_ranges(folder: Path, stage: str, key: CacheKey, ranges: Ranges) -> Path:
    """Stores the ranges; the file appears whole or not at all."""
    path = folder / key.file_name(stage)
    try:
        write_record(path, _File(key, ranges))
    except OSError as reason:
        raise SacvitError(f"the calibration cache {path} cannot be written: {reason.strerror or reason}") from None
    return path
