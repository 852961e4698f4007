"""Both stages' answers for every labelled image, run once and kept: a curve over eta is then arithmetic.

Rows are appended in the images' order; a run that was killed goes on behind the last whole row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..bundle.errors import EngineError, ImageError, SacvitError, UsageError
from ..bundle.files import sha256_of, written_whole
from ..bundle.preprocess import ImageU8
from ..runtime.pipeline import Pipeline
from .contenders import SendAll
from .labelled import Labelled

KEY_NAME = "answers.json"
FILES = ("ee.f32", "sac.f32", "times.f32")
DECODERS, AHEAD = 2, 8
CHUNK_BYTES = 64 << 20
MOST_UNREADABLE = 0.5  # of the images: beyond, the data is not what it was taken for

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Answers:
    """What was stored, read in pieces: logits of 50 000 images and 1 000 classes have 400 MB.

    ee_ms and sac_ms: (N,), of the pass that an image was in. readable: (N,); the rows of others are NaN.
    """

    folder: Path
    count: int
    classes: int
    ee_ms: Floats
    sac_ms: Floats
    readable: npt.NDArray[np.bool_]

    def logits(self) -> Iterator[tuple[slice, Floats, Floats]]:
        """Pieces (rows, EE logits, SAC logits) in order."""
        rows = max(1, CHUNK_BYTES // (8 * self.classes))
        with (self.folder / "ee.f32").open("rb") as ee, (self.folder / "sac.f32").open("rb") as sac:
            for start in range(0, self.count, rows):
                size = min(rows, self.count - start)
                yield slice(start, start + size), _floats(ee, size, self.classes), _floats(sac, size, self.classes)


def collect(
    pipeline: Pipeline, data: Labelled, folder: Path, batch: int, progress: Callable[[int, int], None]
) -> Answers:
    """Runs what is missing. progress: images done and all of them, now and then.

    Raises UsageError when the folder holds answers of other engines or data, ImageError when most images cannot be read,
    SacvitError when the disk is full; what was done by then stays.
    """
    classes = int(pipeline.ee.outputs["logits"].shape[0])
    key = answers_key(pipeline, data, batch)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        done = _open(folder, key, classes)
        for start in range(done, data.count, batch):
            if start == done:
                pictures = _decoded(data, done)
            size = min(batch, data.count - start)
            rows = _answer(pipeline, pictures, size, batch, classes)
            for name, values in zip(FILES, rows, strict=True):
                with (folder / name).open("ab") as file:
                    file.write(np.ascontiguousarray(values, np.float32).tobytes())
            progress(start + size, data.count)
    except OSError as reason:
        raise SacvitError(
            f"{folder} cannot be written: {reason.strerror}. What was answered stays: call it again"
        ) from None
    times = np.fromfile(folder / "times.f32", np.float32).reshape(-1, 2)
    readable = ~np.isnan(times[:, 0])
    if np.mean(~readable) > MOST_UNREADABLE:
        raise ImageError(f"{data.source}: {int((~readable).sum())} of {data.count} images cannot be read")
    return Answers(folder, data.count, classes, times[:, 0], times[:, 1], readable)


def answers_key(pipeline: Pipeline, data: Labelled, batch: int) -> dict[str, Any]:
    """What the answers depend on."""
    return {
        "format": 1,
        "ee": sha256_of(pipeline.ee.path),
        "sac": sha256_of(pipeline.sac.path),
        "backend": pipeline.ee.backend,
        "preprocessing": pipeline.preprocessing.to_dict(),
        "data": data.key,
        "images": data.count,
        "batch": batch,
    }


def _open(folder: Path, key: dict[str, Any], classes: int) -> int:
    """How many images are answered already. A last row that a kill cut is dropped in all files."""
    path = folder / KEY_NAME
    if path.exists():
        try:
            found = json.loads(path.read_text("utf-8")) if path.stat().st_size < 1 << 20 else None
        except ValueError:
            found = None
        if found != key:
            names = sorted(name for name in key if not isinstance(found, dict) or found.get(name) != key[name])
            raise UsageError(
                f"{folder} holds answers of something else: {', '.join(names)} changed since they were written."
                f" Give another --out, or remove it"
            )
    else:
        with written_whole(path) as partial:
            partial.write_text(json.dumps(key, indent=1) + "\n", "utf-8")
        for name in FILES:
            (folder / name).unlink(missing_ok=True)
    widths = dict(zip(FILES, (4 * classes, 4 * classes, 8), strict=True))
    done = min(
        (folder / name).stat().st_size // width if (folder / name).exists() else 0 for name, width in widths.items()
    )
    done -= done % key["batch"] if done < key["images"] else 0
    for name, width in widths.items():
        with (folder / name).open("ab") as file:
            file.truncate(done * width)
    return done


def _decoded(data: Labelled, start: int) -> Iterator[ImageU8 | None]:
    """The images from `start` on, decoded ahead in threads; None for one that cannot be read."""

    def read(index: int) -> ImageU8 | None:
        try:
            return data.read(index)
        except ImageError:
            return None

    with ThreadPoolExecutor(DECODERS, thread_name_prefix="decoder") as pool:
        waiting: list[Future[ImageU8 | None]] = []
        following = start
        while waiting or following < data.count:
            while following < data.count and len(waiting) < AHEAD:
                waiting.append(pool.submit(read, following))
                following += 1
            yield waiting.pop(0).result()


def _answer(
    pipeline: Pipeline, pictures: Iterator[ImageU8 | None], size: int, batch: int, classes: int
) -> tuple[Floats, Floats, Floats]:
    """EE logits, SAC logits and times of the next `size` images; NaN for those that cannot be read."""
    track = pipeline.track(batch)
    good: list[int] = []
    for place in range(size):
        picture = next(pictures)
        if picture is not None:
            pipeline.preprocessing.apply(picture, track.images[len(good)])
            good.append(place)
    ee, sac = np.full((size, classes), np.nan, np.float32), np.full((size, classes), np.nan, np.float32)
    times = np.full((size, 2), np.nan, np.float32)
    if good:
        track.start(len(good))
        track.gate(SendAll())
        track.finish()
        ee[good], sac[good] = track.logits[: len(good)], track.sac_logits[: len(good)]
        times[good] = track.ee_ms, track.sac_ms
        if not (np.isfinite(ee[good]).all() and np.isfinite(sac[good]).all()):
            raise EngineError(
                "the engines compute NaN or infinity; check their precision, and the export (sacvit-export)"
            )
    return ee, sac, times


def _floats(file: Any, rows: int, columns: int) -> Floats:
    return np.fromfile(file, np.float32, rows * columns).reshape(rows, columns)
