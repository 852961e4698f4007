"""The plain ViT as a point beside the curve: its time on the images that are reported on, and top-1 where it was trained."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ...bundle.errors import EngineError
from ...images.labelled import Labelled
from ..timing.plain import Plain
from .stored_answers import WARMUP_PASSES


def require_classes(plain: Plain, classes: int) -> Plain:
    """Raises EngineError for a plain ViT of other classes than the pair's: its labels would have another meaning."""
    found = int(plain.stage.outputs["logits"].shape[0])
    if found != classes:
        raise EngineError(
            f"--plain {plain.stage.path} has {found} classes, the pair has {classes}. Export them together"
        )
    return plain


def measure_plain(
    plain: Plain,
    data: Labelled,
    chosen: npt.NDArray[np.bool_],
    batch: int,
    progress: Callable[[int, int], None],
) -> dict[str, float | None]:
    """Top-1 and mean ms of a pass over the chosen images. Warm-up passes are counted and not timed.

    Top-1 is None where the weights are those of the two stages, which were not trained as a single stage.
    """
    record = plain.stage.record
    indices, right, spent_s, passes = np.flatnonzero(chosen), 0, 0.0, 0
    for start in range(0, len(indices), batch):
        piece = indices[start : start + batch]
        for slot, index in zip(plain.images, piece, strict=False):
            record.preprocessing.apply(data.read(int(index)), slot)
        # Places behind the last images hold earlier ones: they are computed, and their answers are ignored.
        for _ in range(0 if passes else WARMUP_PASSES):
            plain.run(batch)
        began = time.perf_counter()
        found = plain.run(batch)
        spent_s += time.perf_counter() - began
        passes += 1
        right += sum(label == data.labels[index] for label, index in zip(found, piece, strict=False))
        progress(start + len(piece), len(indices))
    return {
        "top1": None if record.borrows_weights else round(float(right) / len(indices), 6),
        "mean_ms": round(1e3 * spent_s / passes, 6),
        "images": len(indices),
        "warmup_passes": WARMUP_PASSES,
    }
