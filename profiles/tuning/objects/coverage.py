"""The share of the object inside the target blocks, against EE's confidence, with the accuracy of both stages beside it.

The share is that of the area of an image's boxes, as far as the network sees it. An image whose boxes the crop cuts off wholly
is counted and left out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ....bundle.preprocess import Preprocessing
from ....images.boxes.shares import block_shares
from ....images.labelled import Labelled
from ....runtime.chain.pipeline import Pipeline
from ..curve import Judged
from .intervals import bootstrap_mean, wilson
from .target_blocks import Indices, Rows, collect_targets

LARGEST_BINS, LEAST_IN_BIN = 8, 20  # bins of equal numbers of images
SHARES = (0.0, 0.25, 0.5, 0.75, 0.95, 1.0)  # edges of the bins of shares
MOST_LISTED = 24  # images with the smallest shares, by name

Floats = npt.NDArray[np.float64]


def measure_objects(
    pipeline: Pipeline,
    data: Labelled,
    chosen: Indices,
    judged: Judged,
    folder: Path,
    batch: int,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """The entry `objects` of tune.json, after a pass of EE on each chosen image that has none stored in `folder`.

    judged: of the chosen images of `data`. Raises the errors of `collect_targets`.
    """
    sizes, targets = collect_targets(pipeline, data, chosen, folder, batch, progress)
    return describe_objects(data, chosen, judged, sizes, targets, pipeline.preprocessing, pipeline.grid)


def describe_objects(
    data: Labelled,
    chosen: Indices,
    judged: Judged,
    sizes: Rows,
    targets: Rows,
    preprocessing: Preprocessing,
    grid: int,
) -> dict[str, Any]:
    """The entry, from stored rows: judged, sizes (N, 2) and targets (N, M) are those of the chosen images of `data`."""
    assert data.boxes is not None
    shares = np.array(
        [
            block_shares(data.boxes[index], preprocessing.region(*size), grid)
            if min(size) > 0
            else np.zeros(grid * grid)
            for index, size in zip(chosen.tolist(), sizes.tolist(), strict=True)
        ]
    )  # (N, G * G)
    seen = np.flatnonzero(shares.sum(1) > 0)
    count, blocks = targets.shape[1], grid * grid
    entry: dict[str, Any] = {
        "images": len(seen),
        "boxes": sum(len(data.boxes[index]) for index in chosen[seen].tolist()),
        "out_of_view": len(chosen) - len(seen),
        "targets": count,
        "blocks": blocks,
    }
    if not len(seen):
        return entry | {"share": None, "by_confidence": [], "by_share": [], "missed": []}
    shares, judged = shares[seen], judged.of(seen)
    share = np.clip(np.take_along_axis(shares, targets[seen], 1).sum(1), 0, 1)
    best = np.clip(-np.sort(-shares, 1)[:, :count].sum(1), 0, 1)
    order = np.argsort(judged.confidence, kind="stable")
    bins = np.array_split(order, max(1, min(LARGEST_BINS, len(order) // LEAST_IN_BIN)))
    places = np.digitize(share, SHARES[1:-1])
    worst = np.argsort(share, kind="stable")[:MOST_LISTED]
    return entry | {
        "share": {
            "found": _mean(share),
            "best": round(float(best.mean()), 6),
            "chance": round(count / blocks, 6),
        },
        "by_confidence": [
            {"confidence": round(float(judged.confidence[one].mean(dtype=np.float64)), 6)} | _bin(one, share, judged)
            for one in bins
        ],
        "by_share": [
            {"least": SHARES[place], "most": SHARES[place + 1]} | _bin(one, share, judged)
            for place in range(len(SHARES) - 1)
            if len(one := np.flatnonzero(places == place))
        ],
        "missed": [
            {
                "image": data.names[int(chosen[seen[one]])],
                "share": round(float(share[one]), 6),
                "confidence": round(float(judged.confidence[one]), 6),
                "ee_right": bool(judged.ee_right[one]),
                "sac_right": bool(judged.sac_right[one]),
            }
            for one in worst.tolist()
        ],
    }


def _bin(chosen: Indices, share: Floats, judged: Judged) -> dict[str, Any]:
    return {
        "images": len(chosen),
        "share": _mean(share[chosen]),
        "ee_top1": _rate(judged.ee_right[chosen]),
        "sac_top1": _rate(judged.sac_right[chosen]),
    }


def _mean(values: Floats) -> dict[str, Any]:
    low, high = bootstrap_mean(values)
    return {"value": round(float(values.mean()), 6), "low": round(low, 6), "high": round(high, 6)}


def _rate(right: npt.NDArray[np.bool_]) -> dict[str, Any]:
    low, high = wilson(int(right.sum()), len(right))
    return {"value": round(float(right.mean()), 6), "low": round(low, 6), "high": round(high, 6)}
