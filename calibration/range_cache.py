"""Ranges that were measured once, in files that say exactly what they were measured on.

One JSON file an observation, named after a hash of its key. The key is inside too and must be the one asked for: another
graph, other images, another count or another version of this code never meet the same file, and a file that was renamed
or copied over another is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..bundle.errors import SacvitError
from ..bundle.files import written_whole

VERSION = 1  # of what is measured and how: raise it when ranges.py or observe.py change a number
MAX_CACHE_BYTES = 16 << 20


@dataclass(frozen=True)
class CacheKey:
    """What ranges depend on. data_sha256 covers the pixels, and for SAC the EE graph and the gate before it."""

    graph_sha256: str
    data_sha256: str
    method: str
    count: int
    version: int = VERSION

    def file_name(self, stage: str) -> str:
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        return f"{stage.lower()}-{digest[:16]}.json"


@dataclass(frozen=True)
class Ranges:
    """Of one graph: what each quantized activation shall hold, the largest |x| of every tensor, images looked at."""

    ranges: dict[str, float]
    largest: dict[str, float]
    images: int


def read_ranges(folder: Path, stage: str, key: CacheKey, tensors: Iterable[str] = ()) -> Ranges | None:
    """The ranges under this key, or None when there are none.

    Raises SacvitError for a file that is not what it says, or that lacks one of `tensors`.
    """
    path = folder / key.file_name(stage)
    if not path.is_file():
        return None
    cure = "Delete it, and it is measured again"
    try:
        if path.stat().st_size > MAX_CACHE_BYTES:
            raise ValueError(f"larger than {MAX_CACHE_BYTES} bytes")
        content = json.loads(path.read_text("utf-8"))
        found = content["key"]
        ranges, largest = (
            {str(name): _magnitude(value) for name, value in content[table].items()} for table in ("ranges", "largest")
        )
        images = content["images"]
        if not isinstance(images, int) or images < 1 or not isinstance(found, dict):
            raise ValueError(f"{images!r} images")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as reason:
        raise SacvitError(f"{path} is no readable calibration cache: {reason!r}. {cure}") from None
    wanted = asdict(key)
    if found != wanted:
        other = [str(name) for name in wanted | found if found.get(name) != wanted.get(name)]
        raise SacvitError(f"{path} was measured with another {', '.join(other)} than its name says. {cure}")
    if missing := sorted(set(tensors) - set(ranges)):
        raise SacvitError(f"{path} has no range for {', '.join(missing)}. {cure}")
    return Ranges(ranges, largest, images)


def write_ranges(folder: Path, stage: str, key: CacheKey, ranges: Ranges) -> Path:
    """Stores the ranges; the file appears whole or not at all."""
    path = folder / key.file_name(stage)
    content: dict[str, Any] = {"key": asdict(key), **asdict(ranges)}
    try:
        with written_whole(path) as partial:
            partial.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    except OSError as reason:
        raise SacvitError(f"the calibration cache {path} cannot be written: {reason.strerror or reason}") from None
    return path


def _magnitude(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{value!r} is no magnitude")
    return float(value)
