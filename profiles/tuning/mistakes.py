"""The images on which the gate is wrong: wrong exits, and images that EE had right and SAC has wrong.

Their names, labels and answers go into tune.json; a small picture of the first ones goes into thumbnails.npz, with the target
blocks, since the images themselves may be on another machine when the page is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ...bundle.errors import ImageError
from ...bundle.files import written_whole
from ...bundle.gating import may_exit
from ...images.labelled import Labelled
from ...runtime.chain.gate import Gate
from ...runtime.chain.pipeline import Pipeline
from .answer_files import Answers
from .curve import Judged

KINDS = ("exited_wrong", "broken_by_sac")
MOST_LISTED = 1000  # of each kind
MOST_SHOWN = 24  # of each kind, as a picture
SIDE = 112  # pixels of a picture, as a page shows it

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Mistakes:
    """Indices into `data`, by kind, the most confident first."""

    data: Labelled
    eta: float
    found: Mapping[str, Indices]


def find_mistakes(data: Labelled, chosen: npt.NDArray[np.bool_], judged: Judged, eta: float) -> Mistakes:
    """The mistakes among the chosen images."""
    exits = may_exit(judged.confidence, eta)
    wrong = {
        "exited_wrong": exits & ~judged.ee_right,
        "broken_by_sac": ~exits & judged.ee_right & ~judged.sac_right,
    }

    def ordered(mask: npt.NDArray[np.bool_]) -> Indices:
        found = np.flatnonzero(mask & chosen)
        return found[np.argsort(-judged.confidence[found], kind="stable")]

    return Mistakes(data, eta, {kind: ordered(wrong[kind]) for kind in KINDS})


def list_mistakes(mistakes: Mistakes, answers: Answers, judged: Judged, names: Sequence[str] | None) -> dict[str, Any]:
    """For each kind the count, and for the first MOST_LISTED the image, its label, both answers and EE's confidence."""
    wanted = np.concatenate([found[:MOST_LISTED] for found in mistakes.found.values()])
    ee, sac = _answers_at(answers, wanted)

    def called(index: int) -> str:
        return str(index) if names is None else names[index]

    def entry(index: int) -> dict[str, Any]:
        return {
            "image": mistakes.data.names[index],
            "confidence": round(float(judged.confidence[index]), 4),
            "label": called(int(mistakes.data.labels[index])),
            "ee": called(ee[index]),
            "sac": called(sac[index]),
        }

    return {
        kind: {
            "eta": mistakes.eta,
            "count": len(found),
            "images": [entry(int(index)) for index in found[:MOST_LISTED]],
        }
        for kind, found in mistakes.found.items()
    }


def _answers_at(answers: Answers, wanted: Indices) -> tuple[dict[int, int], dict[int, int]]:
    """EE's and SAC's class of the wanted images."""
    ee_class, sac_class = {}, {}
    for rows, ee, sac in answers.logits():
        for index in wanted[(wanted >= rows.start) & (wanted < rows.stop)].tolist():
            ee_class[index] = int(ee[index - rows.start].argmax())
            sac_class[index] = int(sac[index - rows.start].argmax())
    return ee_class, sac_class


def write_thumbnails(pipeline: Pipeline, mistakes: Mistakes, path: Path) -> None:
    """The network's view of the first images of each kind, (N, SIDE, SIDE, 3) RGB, and EE's target blocks."""
    arrays: dict[str, npt.NDArray[Any]] = {"grid": np.array(pipeline.grid)}
    track = pipeline.track(1)
    for kind, found in mistakes.found.items():
        shown = found[:MOST_SHOWN]
        pictures = np.zeros((len(shown), SIDE, SIDE, 3), np.uint8)
        targets = np.zeros((len(shown), track.target_index.shape[1]), np.int32)
        for place, index in enumerate(shown.tolist()):
            try:
                view = pipeline.preprocessing.apply(mistakes.data.read(index), track.images[0])
            except ImageError:
                continue  # it was removed after it was answered: its picture stays black
            track.start(1)
            track.gate(Gate(1.0))
            track.finish()
            pictures[place] = cv2.resize(view, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
            targets[place] = track.target_index[0]
        arrays |= {kind: pictures, f"{kind}_targets": targets}
    with written_whole(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
