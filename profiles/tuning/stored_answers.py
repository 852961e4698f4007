"""Both stages' answers for every labelled image, computed once and stored: a curve over eta then needs no more passes.

Rows are appended in the images' order; a killed run continues after the last whole row. Every row has a SHA-256, which
is checked before anything is run. Before the first pass of each size a call makes some that are neither kept nor timed; a line
in warmup.jsonl counts them, with the machine they ran on.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...bundle.errors import EngineError, ImageError, SacvitError, UsageError
from ...bundle.files import sha256_of
from ...bundle.preprocess import ImageU8
from ...bundle.records import encode_line, read_record, write_record
from ...images.labelled import Labelled
from ...machine.processor import describe_machine
from ...runtime.chain.gate import Gate
from ...runtime.chain.pipeline import Pipeline
from .answer_files import (
    FILES,
    KEY_NAME,
    SUM_BYTES,
    SUMS_NAME,
    WARMUP_NAME,
    Answers,
    Floats,
    read_warm_ups,
    require_sound,
    row_sums,
)

WARMUP_PASSES = 3  # of each size: the first allocates, the second may still choose kernels
DECODERS = 4  # each holds one full picture: 36 MB for 12 megapixels
GROUP = 64  # images that are decoded before they are answered, S x S each
MOST_UNREADABLE = 0.5  # of the images; beyond, the path is probably wrong


def collect(
    pipeline: Pipeline, data: Labelled, folder: Path, batch: int, progress: Callable[[int, int], None]
) -> Answers:
    """Runs the missing passes. progress: called from time to time with the images done and their total.

    Raises UsageError when the folder holds answers of other engines or data, ImageError when most images cannot be read,
    SacvitError when what is stored is damaged, or the disk is full; what was done until then is kept.
    """
    classes = int(pipeline.ee.outputs["logits"].shape[0])
    key = answers_key(pipeline, data, batch)
    with _told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        done = _open(folder, key, classes)
        require_sound(folder, done, classes)
    _require_room(folder, (data.count - done) * (8 * classes + 8))
    warm: set[int] = set()

    def warm_up(images: int) -> int:
        """The number of warm-up passes that this size still needs."""
        if images in warm:
            return 0
        warm.add(images)
        entry = {"images": images, "passes": WARMUP_PASSES, "machine": describe_machine()}
        _append(folder / WARMUP_NAME, encode_line(entry) + b"\n")
        return WARMUP_PASSES

    group = batch * max(1, GROUP // batch)
    with ThreadPoolExecutor(DECODERS, thread_name_prefix="decoder") as pool:
        for first in range(done, data.count, group):
            # Decode all of a group before its passes: a decoder in parallel would add to a pass's time.
            rows = range(first, min(first + group, data.count))
            views = list(pool.map(lambda index: _view(pipeline, data, index), rows))
            for start in range(first, rows.stop, batch):
                found = _answer(pipeline, views[start - first : start - first + batch], batch, classes, warm_up)
                for name, values in zip(FILES, found, strict=True):
                    _append(folder / name, np.ascontiguousarray(values, np.float32).tobytes())
                _append(folder / SUMS_NAME, b"".join(row_sums(start, *found)))
                progress(min(start + batch, data.count), data.count)
    times = np.fromfile(folder / "times.f32", np.float32).reshape(-1, 2)
    readable = ~np.isnan(times[:, 0])
    if np.mean(~readable) > MOST_UNREADABLE:
        raise ImageError(f"{data.source}: {int((~readable).sum())} of {data.count} images cannot be read")
    return Answers(folder, data.count, classes, times[:, 0], times[:, 1], readable, read_warm_ups(folder))


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Turns a failed write into a message."""
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
    """Raises SacvitError before the first pass where the answers cannot fit. A quota may still end the run later."""
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise SacvitError(
            f"{folder}: the answers that are missing take {wanted / 1e6:.0f} MB, the disk has {free / 1e6:.0f} MB left."
            f" Make room, or give another --out"
        )


def answers_key(pipeline: Pipeline, data: Labelled, batch: int) -> dict[str, Any]:
    """The data that the answers depend on."""
    return {
        "format": 4,  # 2 cropped images of S x S once more, 3 had no checksums
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
    """How many images are answered already. A last row that was cut short by a kill is removed from all files."""
    path = folder / KEY_NAME
    if path.exists():
        found = read_record(path, dict[str, Any], f"Remove {folder}; the images are answered again", SacvitError)
        if found != key:
            names = sorted(name for name in key if found.get(name) != key[name])
            raise UsageError(
                f"{folder} holds answers of something else: {', '.join(names)} changed since they were written."
                f" Give another --out, or remove it"
            )
    else:
        write_record(path, key)
        for name in (*FILES, SUMS_NAME, WARMUP_NAME):
            (folder / name).unlink(missing_ok=True)
    widths = dict(zip((*FILES, SUMS_NAME), (4 * classes, 4 * classes, 8, SUM_BYTES), strict=True))
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
    """The network's view of an image, (S, S, 3); None for one that cannot be read."""
    try:
        return pipeline.preprocessing.apply(data.read(index))
    except ImageError:
        return None  # its row becomes NaN; the caller counts, names and leaves it out


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
