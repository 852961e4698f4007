"""Reads the files of stored answers, which have one row per image, and a SHA-256 per row."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from ...bundle.errors import SacvitError
from ...bundle.records import decode_line

KEY_NAME = "answers.json"
FILES = ("ee.f32", "sac.f32", "times.f32")
SUMS_NAME, SUM_BYTES = "rows.sha256", 32
WARMUP_NAME = "warmup.jsonl"
CHUNK_BYTES = 16 << 20  # of logits in memory; softmaxes in float64 need several times as much

Floats = npt.NDArray[np.float32]


class Machine(msgspec.Struct, frozen=True):
    """The machine that passes ran on: see `describe_machine`."""

    processor: str
    cores: int | None
    load_1min: float | None
    governor: str | None


class WarmUp(msgspec.Struct, frozen=True):
    """Passes of `images` images whose answers were not kept and not timed."""

    images: Annotated[int, msgspec.Meta(ge=1)]
    passes: Annotated[int, msgspec.Meta(ge=0)]
    machine: Machine


@dataclass(frozen=True)
class Answers:
    """The stored answers, read in pieces: logits of 50 000 images and 1 000 classes have 400 MB.

    ee_ms and sac_ms: (N,), of the pass that an image was in. readable: (N,); the rows of others are NaN. warmups: one entry for
    each size that a call warmed up for.
    """

    folder: Path
    count: int
    classes: int
    ee_ms: Floats
    sac_ms: Floats
    readable: npt.NDArray[np.bool_]
    warmups: Sequence[WarmUp] = ()

    def logits(self) -> Iterator[tuple[slice, Floats, Floats]]:
        """Pieces (rows, EE logits, SAC logits) in order."""
        rows = max(1, CHUNK_BYTES // (8 * self.classes))
        with (self.folder / "ee.f32").open("rb") as ee, (self.folder / "sac.f32").open("rb") as sac:
            for start in range(0, self.count, rows):
                size = min(rows, self.count - start)
                yield slice(start, start + size), _floats(ee, size, self.classes), _floats(sac, size, self.classes)


def read_warm_ups(folder: Path) -> list[WarmUp]:
    """The warm-up passes of all calls so far. Raises SacvitError for damaged lines."""
    path = folder / WARMUP_NAME
    try:
        lines = path.read_bytes().splitlines() if path.exists() else []
        return [msgspec.convert(decode_line(line), WarmUp) for line in lines]
    except (ValueError, RecursionError) as reason:
        raise SacvitError(
            f"{path} is damaged ({reason}). Remove it: only the count of warm-up passes is lost"
        ) from None


def row_sums(first: int, ee: Floats, sac: Floats, times: Floats) -> list[bytes]:
    """The SHA-256 of each row together with its place; the first row has the place `first`."""
    rows = zip(*(np.ascontiguousarray(values, np.float32) for values in (ee, sac, times)), strict=True)
    return [
        hashlib.sha256(b"%d:" % place + b"".join(part.tobytes() for part in row)).digest()
        for place, row in enumerate(rows, first)
    ]


def require_sound(folder: Path, done: int, classes: int) -> None:
    """Raises SacvitError unless the first `done` rows are unchanged."""
    ee_ms = np.fromfile(folder / FILES[2], np.float32, 2 * done).reshape(done, 2)
    stored = Answers(folder, done, classes, ee_ms[:, 0], ee_ms[:, 1], ~np.isnan(ee_ms[:, 0]))
    with (folder / SUMS_NAME).open("rb") as sums:
        for rows, ee, sac in stored.logits():
            for place, wanted in enumerate(row_sums(rows.start, ee, sac, ee_ms[rows]), rows.start):
                if sums.read(SUM_BYTES) != wanted:
                    raise SacvitError(
                        f"{folder} is damaged: the stored answer of image {place} does not fit its checksum in {SUMS_NAME}."
                        f" Remove {folder}; the images are answered again"
                    )


def _floats(file: Any, rows: int, columns: int) -> Floats:
    return np.fromfile(file, np.float32, rows * columns).reshape(rows, columns)
