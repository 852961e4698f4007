"""The contact sheet: a sample of the exits, and of the SAC frames with their masks."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ...bundle.files import require_writable, written_whole
from ...bundle.preprocess import ImageU8
from ..chain.result import Result
from .overlay import (  # fmt: skip
    EE_COLOUR,
    FAINT,
    FONT,
    INK,
    PANEL,
    SAC_COLOUR,
    draw_targets,
    printable,
    shorten,
    stage_colour,
    write,
)
from .sink import Answer
from .tint import tint_cells

COLUMNS, ROWS = 6, 3  # of each kind
SIDE, CAPTION, GAP, HEADING = 168, 44, 12, 48  # pixels


@dataclass
class Sample:
    picture: ImageU8
    result: Result
    name: str


class Sheet:
    """Keeps a uniform sample of each kind while the run goes on, and writes the picture when it is closed."""

    def __init__(self, path: Path) -> None:
        require_writable(path, "--sheet", ".png")
        self.path = path
        self.samples: dict[str, list[Sample]] = {"EE": [], "SAC": []}
        self.seen = {"EE": 0, "SAC": 0}
        self.grid, self.threshold = 1, 0.0
        self._random = random.Random(0)  # the same run gives the same sheet

    def write(self, answer: Answer) -> None:
        kind = answer.result.stage
        self.grid, self.threshold = answer.grid, answer.threshold
        self.seen[kind] += 1
        kept = self.samples[kind]
        place = len(kept) if len(kept) < COLUMNS * ROWS else self._random.randrange(self.seen[kind])
        if place >= COLUMNS * ROWS:
            return
        picture = cv2.resize(cv2.cvtColor(answer.view, cv2.COLOR_RGB2BGR), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        kept[place : place + 1] = [Sample(picture, answer.result, answer.frame.name)]  # type: ignore[arg-type]

    def close(self) -> None:
        if not sum(self.seen.values()):
            return
        sheet = self.draw()
        with written_whole(self.path) as partial:
            ok, content = cv2.imencode(".png", sheet)
            assert ok
            partial.write_bytes(content.tobytes())

    def draw(self) -> ImageU8:
        """The sheet as a BGR picture."""
        total = sum(self.seen.values())
        width = COLUMNS * (SIDE + GAP) + GAP
        bands = [
            self._band("EE", f"left after the EE stage: confidence >= {self.threshold:g}", EE_COLOUR, total, width),
            self._band("SAC", "went on to the SAC stage: it looked at the outlined blocks", SAC_COLOUR, total, width),
        ]
        return np.concatenate(bands)

    def _band(self, kind: str, text: str, colour: tuple[int, int, int], total: int, width: int) -> ImageU8:
        samples = self.samples[kind]
        rows = max(1, -(-len(samples) // COLUMNS))
        band = np.full((HEADING + rows * (SIDE + CAPTION + GAP), width, 3), PANEL, np.uint8)
        share = f"{self.seen[kind]} of {total} frames ({self.seen[kind] / total:.0%})"
        cv2.rectangle(band, (GAP, 16), (GAP + 5, 36), colour, -1)
        write(band, f"{share} {text}", (GAP + 16, 32), 0.55, INK, 1)
        if not samples:
            write(band, "none", (GAP + 16, HEADING + 30), 0.55, FAINT, 1)
        for place, sample in enumerate(samples):
            top = HEADING + place // COLUMNS * (SIDE + CAPTION + GAP)
            left = GAP + place % COLUMNS * (SIDE + GAP)
            cell = band[top : top + SIDE, left : left + SIDE]
            cell[:] = sample.picture
            cells = sample.result.cells
            if cells is not None:
                tint_cells(cell, cells)
            if kind == "SAC":
                box = (top, left, SIDE, SIDE)
                draw_targets(band, box, self.grid, sample.result.target_blocks, dims=cells is None)
            self._caption(band, sample, top + SIDE, left)
        return band

    def _caption(self, band: ImageU8, sample: Sample, top: int, left: int) -> None:
        result = sample.result
        percent = f"{result.probability:.0%}"
        (percent_width, _), _ = cv2.getTextSize(percent, FONT, 0.5, 1)
        label = shorten(printable(result.text), SIDE - percent_width - 8, 0.5, 1)
        write(band, label, (left, top + 17), 0.5, stage_colour(result), 1)
        write(band, percent, (left + SIDE - percent_width, top + 17), 0.5, INK, 1)
        name = f"EE {result.confidence:.2f}  {printable(sample.name)}"
        write(band, shorten(name, SIDE, 0.38, 1), (left, top + 35), 0.38, FAINT, 1)
