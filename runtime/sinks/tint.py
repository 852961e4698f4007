"""The colours of a dense answer: cells of every class but the ground are tinted, the stronger the surer they are."""

from __future__ import annotations

import cv2
import numpy as np

from ...bundle.preprocess import ImageU8
from ..chain.cells import GROUND, Cells

STRENGTH = 0.6  # of a tint at confidence 1
# BGR, easy to tell apart, without the green and the orange of the stages; classes beyond the last begin again.
COLOURS = np.array(
    [(200, 80, 230), (230, 200, 40), (40, 220, 230), (230, 90, 70), (110, 110, 250), (180, 230, 160), (250, 160, 210)],
    np.uint8,
)


def tint_cells(view: ImageU8, cells: Cells) -> None:
    """Tints a picture of what the network saw, (H, W, 3) BGR, in place."""
    size = (view.shape[1], view.shape[0])
    colours = COLOURS[(cells.classes - GROUND - 1) % len(COLOURS)]
    weight = np.where(cells.classes == GROUND, 0, STRENGTH * cells.confidence).astype(np.float32)
    tint, share = (cv2.resize(values, size, interpolation=cv2.INTER_NEAREST) for values in (colours, weight))
    view[:] = cv2.blendLinear(np.ascontiguousarray(view), tint, 1 - share, share)
