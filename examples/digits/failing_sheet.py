"""The sheet of failing clusters: scenes of each kind whose targets hold the least of the object and that SAC gets wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from failing_scenes import box_of

from sacvit.bundle.preprocess import ImageU8
from sacvit.runtime.sinks.overlay import FAINT, INK, PANEL, SAC_COLOUR, draw_targets, write

if TYPE_CHECKING:
    from failing_measure import Measured

PAIRS = 4  # scenes of each kind
SIDE, GAP, SPACE, HEADING, CAPTION = 128, 4, 22, 40, 42  # pixels
BOX_COLOUR = (255, 255, 255)
QUALITY = 82


def write_sheet(kinds: Mapping[str, Measured], grid: int, path: Path) -> None:
    """Each scene twice: with attention's targets, and with those of leave-one-out."""
    bands = [_head(), *(_band(kind, one, grid) for kind, one in kinds.items())]
    if not cv2.imwrite(str(path), np.concatenate(bands), [cv2.IMWRITE_JPEG_QUALITY, QUALITY]):
        raise SystemExit(f"{path} cannot be written")


def worst(one: Measured) -> list[int]:
    """Scenes that SAC gets wrong, the smallest share of the object inside the targets first."""
    wrong = np.flatnonzero(~one.right("attention"))
    found: list[int] = wrong[np.argsort(one.share["attention"][wrong], kind="stable")][:PAIRS].tolist()
    return found


def _width() -> int:
    return SPACE + PAIRS * (2 * SIDE + GAP + SPACE)


def _head() -> ImageU8:
    band = np.full((58, _width(), 3), PANEL, np.uint8)
    title = (
        "Failing clusters: each scene with the targets of attention (left) and of uncertainty (right: a block left out)"
    )
    about = (
        "Bright blocks are the targets, the white frame is the object. Of the scenes that SAC gets wrong with attention's"
        " targets, those with the least of the object inside."
    )
    write(band, title, (SPACE, 26), 0.52, INK, 1)
    write(band, about, (SPACE, 48), 0.4, FAINT, 1)
    return band


def _band(kind: str, one: Measured, grid: int) -> ImageU8:
    band = np.full((HEADING + SIDE + CAPTION, _width(), 3), PANEL, np.uint8)
    wrong = ~one.right("attention")
    half = int((wrong & (one.share["attention"] < 0.5)).sum())
    cv2.rectangle(band, (SPACE, 14), (SPACE + 4, 30), SAC_COLOUR, -1)
    count = f"SAC is wrong on {wrong.sum()} of {len(wrong)} scenes"
    text = f"{kind}: {count}, {half} of them with less than half of the object inside"
    write(band, text, (SPACE + 14, 27), 0.48, INK, 1)
    for place, index in enumerate(worst(one)):
        left = SPACE + place * (2 * SIDE + GAP + SPACE)
        for side, rule in enumerate(("attention", "leave-one-out")):
            at = left + side * (SIDE + GAP)
            _cell(band[HEADING : HEADING + SIDE, at : at + SIDE], one, index, rule, grid)
            answer = f"SAC {one.answers[rule][index]}"
            write(band, f"{answer}, {one.share[rule][index]:.0%} inside", (at, HEADING + SIDE + 15), 0.38, INK, 1)
        about = f"is {one.labels[index]}; EE {one.ee[index]} ({one.confidence[index]:.2f})"
        write(band, about, (left, HEADING + SIDE + 31), 0.38, FAINT, 1)
    return band


def _cell(cell: ImageU8, one: Measured, index: int, rule: str, grid: int) -> None:
    scene = one.scenes[index]
    picture = cv2.resize(cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    cell[:] = picture
    targets = tuple(one.orders[rule][index, : one.targets].tolist())
    draw_targets(cell, (0, 0, SIDE, SIDE), grid, targets)
    scale = SIDE // scene.image.shape[0]
    x, y, w, h = (value * scale for value in box_of(scene.mask))
    cv2.rectangle(cell, (x, y), (x + w - 1, y + h - 1), BOX_COLOUR, 1, cv2.LINE_AA)
