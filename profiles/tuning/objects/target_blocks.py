"""The target blocks of images with boxes: a pass of EE on each, stored beside the answers.

Answers do not hold them, since most data has no boxes. So these images are read once more and run through EE alone; a killed
run continues, and boxes that were added or corrected later need no new answers.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ....bundle.errors import ImageError, SacvitError
from ....bundle.files import sha256_of
from ....bundle.records import read_record, write_record
from ....images.labelled import Labelled
from ....runtime.chain.gate import Gate
from ....runtime.chain.pipeline import Pipeline

KEY_NAME, ROWS_NAME = "targets.json", "targets.i32"

Indices = npt.NDArray[np.intp]
Rows = npt.NDArray[np.int32]


def collect_targets(
    pipeline: Pipeline,
    data: Labelled,
    chosen: Indices,
    folder: Path,
    batch: int,
    progress: Callable[[int, int], None],
) -> tuple[Rows, Rows]:
    """Height and width of each chosen picture, (N, 2), and its target blocks, (N, M). Rows of -1 for unreadable pictures.

    folder: of the data's answers. Raises SacvitError for stored rows that are damaged.
    """
    targets = int(pipeline.ee.outputs["target_index"].shape[0])
    width = 4 * (2 + targets)
    file = folder / ROWS_NAME
    done = min(_stored(folder, _key(pipeline, data, chosen, targets), width), len(chosen))
    done -= done % batch if done < len(chosen) else 0
    track = pipeline.track(batch)
    for start in range(done, len(chosen), batch):
        rows = np.full((min(batch, len(chosen) - start), 2 + targets), -1, np.int32)
        good: list[int] = []
        for place, index in enumerate(chosen[start : start + batch].tolist()):
            try:
                picture = data.read(index)
            except ImageError:
                continue
            pipeline.preprocessing.apply(picture, track.images[len(good)])
            rows[place, :2] = picture.shape[:2]
            good.append(place)
        if good:
            track.start(len(good))
            track.gate(Gate(0.0))
            rows[good, 2:] = track.target_index[: len(good)]
        try:
            with file.open("r+b" if file.exists() else "wb") as stored:
                stored.seek(start * width)
                stored.write(rows.tobytes())
        except OSError as reason:
            raise SacvitError(
                f"{file} cannot be written: {reason.strerror or reason}. What was done until then stays: call it again"
            ) from None
        progress(start + len(rows), len(chosen))
    found = np.fromfile(file, np.int32, len(chosen) * (2 + targets)).reshape(len(chosen), 2 + targets)
    _require_sound(file, found[:, 2:], pipeline.grid**2)
    return found[:, :2], found[:, 2:]


def _key(pipeline: Pipeline, data: Labelled, chosen: Indices, targets: int) -> dict[str, Any]:
    """What the rows depend on; boxes are not among it."""
    return {
        "format": 1,
        "ee": sha256_of(pipeline.ee.path),
        "backend": pipeline.ee.backend,
        "preprocessing": pipeline.preprocessing.to_dict(),
        "data": data.key,
        "images": sha256(chosen.astype("<i8").tobytes()).hexdigest(),
        "targets": targets,
    }


def _stored(folder: Path, key: dict[str, Any], width: int) -> int:
    """How many rows of this key are stored. Rows of another key are removed: they cost one pass of EE each."""
    file, path = folder / ROWS_NAME, folder / KEY_NAME
    known = None
    if path.exists():
        known = read_record(path, dict[str, Any], f"Remove {path}; the targets are computed again", SacvitError)
    if known != key:
        file.unlink(missing_ok=True)
        write_record(path, key)
    return file.stat().st_size // width if file.exists() else 0


def _require_sound(file: Path, targets: Rows, blocks: int) -> None:
    """Raises SacvitError unless each row names different blocks of the grid, or none."""
    ordered = np.sort(targets, 1)
    is_sound = (ordered[:, 0] >= 0) & (ordered[:, -1] < blocks) & (np.diff(ordered, axis=1) > 0).all(1)
    bad = np.flatnonzero(~is_sound & (targets != -1).any(1))
    if len(bad):
        raise SacvitError(f"{file} is damaged: row {bad[0]} holds no target blocks. Remove it; they are computed again")
