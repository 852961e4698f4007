"""Both stages' answers for every labelled image, run once and kept: a curve over eta is then arithmetic.

Rows are appended in the images' order; a run that was killed goes on behind the last whole row. Before the first pass of each
size a call makes some that are neither kept nor timed; a line in warmup.jsonl counts them, with the machine they ran on.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...bundle.errors import EngineError, ImageError, SacvitError, UsageError
from ...bundle.files import sha256_of, written_whole
from ...bundle.preprocess import ImageU8
from ...images.labelled import Labelled
from ...machine.processor import describe_machine
from ...runtime.chain.gate import Gate
from ...runtime.chain.pipeline import Pipeline

KEY_NAME = "answers.json"
FILES = ("ee.f32", "sac.f32", "times.f32")
WARMUP_NAME = "warmup.jsonl"
WARMUP_PASSES = 3  # of each size: the first allocates, the second may still choose kernels
DECODERS = 4  # each holds one picture as it was taken: 36 MB of 12 megapixels
GROUP = 64  # images that are decoded before they are answered, S x S each
CHUNK_BYTES = 16 << 20  # of logits in memory; softmaxes are computed in float64, some times as large
MOST_UNREADABLE = 0.5  # of the images: beyond, the data is not what it was taken for

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Answers:
    """What was stored, read in pieces: logits of 50 000 images and 1 000 classes have 400 MB.

    ee_ms and sac_ms: (N,), of the pass that an image was in. readable: (N,); the rows of others are NaN. warmups: one entry for
    each size that a call warmed up for: `images`, `passes` and the `machine`.
    """

    folder: Path
    count: int
    classes: int
    ee_ms: Floats
    sac_ms: Floats
    readable: npt.NDArray[np.bool_]
    warmups: Sequence[dict[str, Any]] = ()

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
    with _told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        done = _open(folder, key, classes)
    _require_room(folder, (data.count - done) * (8 * classes + 8))
    warm: set[int] = set()

    def warm_up(images: int) -> int:
        """How many passes this size needs before it is timed."""
        if images in warm:
            return 0
        warm.add(images)
        entry = {"images": images, "passes": WARMUP_PASSES, "machine": describe_machine()}
        _append(folder / WARMUP_NAME, (json.dumps(entry) + "\n").encode())
        return WARMUP_PASSES

    group = batch * max(1, GROUP // batch)
    with ThreadPoolExecutor(DECODERS, thread_name_prefix="decoder") as pool:
        for first in range(done, data.count, group):
            # All of a group before its passes: a decoder beside a pass would be in the pass's time.
            rows = range(first, min(first + group, data.count))
            views = list(pool.map(lambda index: _view(pipeline, data, index), rows))
            for start in range(first, rows.stop, batch):
                found = _answer(pipeline, views[start - first : start - first + batch], batch, classes, warm_up)
                for name, values in zip(FILES, found, strict=True):
                    _append(folder / name, np.ascontiguousarray(values, np.float32).tobytes())
                progress(min(start + batch, data.count), data.count)
    times = np.fromfile(folder / "times.f32", np.float32).reshape(-1, 2)
    readable = ~np.isnan(times[:, 0])
    if np.mean(~readable) > MOST_UNREADABLE:
        raise ImageError(f"{data.source}: {int((~readable).sum())} of {data.count} images cannot be read")
    return Answers(folder, data.count, classes, times[:, 0], times[:, 1], readable, _warmups(folder / WARMUP_NAME))


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """What the disk refuses, in words."""
    try:
        yield
    except OSError as reason:
        raise SacvitError(
            f"{folder} cannot be written: {reason.strerror or reason}. What was answered stays: call it again"
        ) from None


def _append(path: Path, content: bytes) -> None:
    with _told(path.parent), path.open("ab") as file:
        file.write(content)


def _require_room(folder: Path, wanted: int) -> None:
    """Raises SacvitError before the first pass where the answers cannot fit. A quota may still end it later."""
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise SacvitError(
            f"{folder}: the answers that are missing take {wanted / 1e6:.0f} MB, the disk has {free / 1e6:.0f} MB left."
            f" Make room, or give another --out"
        )


def _warmups(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
    except ValueError as reason:
        raise SacvitError(
            f"{path} is damaged ({reason}). Remove it: only the count of warm-up passes is lost"
        ) from None


def answers_key(pipeline: Pipeline, data: Labelled, batch: int) -> dict[str, Any]:
    """What the answers depend on."""
    return {
        "format": 3,  # 2 cropped images of S x S once more
        "ee": sha256_of(pipeline.ee.path),
        "sac": sha256_of(pipeline.sac.path),
        "backend": pipeline.ee.backend,
        "preprocessing": pipeline.preprocessing.to_dict(),
        "data": data.key,
        "images": data.count,
        "batch": batch,
        "warmup": WARMUP_PASSES,
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
        for name in (*FILES, WARMUP_NAME):
            (folder / name).unlink(missing_ok=True)
    widths = dict(zip(FILES, (4 * classes, 4 * classes, 8), strict=True))
    done = min(
        (folder / name).stat().st_size // width if (folder / name).exists() else 0 for name, width in widths.items()
    )
    done -= done % key["batch"] if done < key["images"] else 0
    for name, width in widths.items():
        with (folder / name).open("ab") as file:
            file.truncate(done * width)
    log = folder / WARMUP_NAME
    if log.exists():
        whole = log.read_bytes().rfind(b"\n") + 1
        with log.open("ab") as file:  # likewise a last line
            file.truncate(whole)
    return done


def _view(pipeline: Pipeline, data: Labelled, index: int) -> ImageU8 | None:
    """What the network sees of an image, (S, S, 3); None of one that cannot be read."""
    try:
        return pipeline.preprocessing.apply(data.read(index))
    except ImageError:
        return None  # its row becomes NaN: counted, named and left out by the caller


def _answer(
    pipeline: Pipeline,
    views: Sequence[ImageU8 | None],
    batch: int,
    classes: int,
    warm_up: Callable[[int], int],
) -> tuple[Floats, Floats, Floats]:
    """EE logits, SAC logits and times of these images; NaN for those that cannot be read."""
    track, size = pipeline.track(batch), len(views)
    good = [place for place, view in enumerate(views) if view is not None]
    for slot, view in enumerate(view for view in views if view is not None):
        track.images[slot] = view
    ee, sac = np.full((size, classes), np.nan, np.float32), np.full((size, classes), np.nan, np.float32)
    times = np.full((size, 2), np.nan, np.float32)
    if good:
        for _ in range(warm_up(len(good)) + 1):
            track.start(len(good))
            track.gate(Gate(1.0))
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
