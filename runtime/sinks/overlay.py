"""The overlay of a frame: the answer, the stage that gave it and why, and the blocks that SAC looked at."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ...bundle.preprocess import ImageU8
from ..chain.result import Result
from .tint import tint_cells

SMALLEST_SIDE = 480  # pixels: smaller frames are enlarged, so that text and blocks stay readable
LARGEST_SIDE = 4096  # pixels: narrow frames are not enlarged beyond what a video can hold
EE_COLOUR = (120, 200, 80)  # BGR: green, left early
SAC_COLOUR = (60, 165, 250)  # orange, took the fine pass
INK, FAINT, PANEL = (245, 245, 245), (190, 190, 190), (24, 24, 24)
FONT = cv2.FONT_HERSHEY_DUPLEX
DIMMED = 0.42  # brightness of what the fine pass skipped

Box = tuple[int, int, int, int]  # top, left, height, width in pixels


@dataclass(frozen=True)
class Running:
    """Numbers of the run so far, for the bottom line."""

    exit_rate: float
    frame_ms: float
    dropped: int


def stage_colour(result: Result) -> tuple[int, int, int]:
    return EE_COLOUR if result.exits_early else SAC_COLOUR


def reason(result: Result, threshold: float) -> str:
    """Why this stage answered, in one phrase."""
    if result.degraded:
        return f"EE confidence {result.confidence:.2f}, no time for SAC"
    sign = ">=" if result.exits_early else "<"
    return f"EE confidence {result.confidence:.2f} {sign} {threshold:g}"


def draw_overlay(image: ImageU8, region: Box, grid: int, result: Result, threshold: float, running: Running) -> ImageU8:
    """A copy of a BGR frame with everything drawn on it; small frames are enlarged first.

    region: the part of the frame that the network saw. grid: its coarse blocks along a side.
    """
    scale = min(max(1.0, SMALLEST_SIDE / min(image.shape[:2])), max(1.0, LARGEST_SIDE / max(image.shape[:2])))
    canvas = enlarged(image, scale) if scale > 1 else image.copy()
    draw_region(canvas, scale, region, grid, result)
    draw_answer(canvas, result, threshold)
    draw_status(canvas, running)
    return canvas


def draw_region(canvas: ImageU8, scale: float, region: Box, grid: int, result: Result) -> None:
    """Outlines what the network saw in the colour of the stage that answered, with the target blocks of SAC, in place.

    region: of the frame, of which `canvas` is a picture in another scale.
    """
    top, left, height, width = (round(value * scale) for value in region)
    box = (top, left, min(height, canvas.shape[0] - top), min(width, canvas.shape[1] - left))
    if result.cells is not None:
        tint_cells(canvas[box[0] : box[0] + box[2], box[1] : box[1] + box[3]], result.cells)
    if not result.exits_early:
        # A dense answer has cells outside the targets too, so that nothing is dimmed.
        draw_targets(canvas, box, grid, result.target_blocks, dims=result.cells is None)
    colour = stage_colour(result)
    cv2.rectangle(canvas, (box[1], box[0]), (box[1] + box[3] - 1, box[0] + box[2] - 1), colour, 2, cv2.LINE_AA)


def draw_targets(canvas: ImageU8, box: Box, grid: int, targets: tuple[int, ...], dims: bool = True) -> None:
    """Outlines the target blocks and, with `dims`, dims all others, in place."""
    top, left, height, width = box
    rows, columns = (np.linspace(0, side, grid + 1).round().astype(int) for side in (height, width))
    is_target = np.isin(np.arange(grid * grid), targets).reshape(grid, grid)
    view = canvas[top : top + height, left : left + width]
    mask = np.repeat(np.repeat(is_target, np.diff(rows), 0), np.diff(columns), 1)
    if dims:  # in place: NumPy takes 86 ms for a frame of 1080p, all of this 8 ms, and the recorder has 33
        cv2.copyTo(cv2.convertScaleAbs(view, alpha=DIMMED), (~mask).astype(np.uint8), view)
    framed = np.pad(is_target, 1)
    for row in range(grid):
        for column in range(grid):
            if not is_target[row, column]:
                continue
            y0, y1, x0, x1 = rows[row], rows[row + 1] - 1, columns[column], columns[column + 1] - 1
            edges = (
                (framed[row, column + 1], (x0, y0), (x1, y0)),
                (framed[row + 2, column + 1], (x0, y1), (x1, y1)),
                (framed[row + 1, column], (x0, y0), (x0, y1)),
                (framed[row + 1, column + 2], (x1, y0), (x1, y1)),
            )
            for neighbour, start, end in edges:
                if not neighbour:
                    cv2.line(view, tuple(map(int, start)), tuple(map(int, end)), SAC_COLOUR, 1, cv2.LINE_AA)


def draw_answer(canvas: ImageU8, result: Result, threshold: float) -> None:
    """The panel at the top: label, probability with its bar, stage and reason."""
    unit = min(canvas.shape[:2]) / 480
    pad, height = round(12 * unit), round(84 * unit)
    width = min(canvas.shape[1] - 2 * pad, round(350 * unit))
    panel = canvas[pad : pad + height, pad : pad + width]
    panel[:] = (panel * 0.25 + np.array(PANEL) * 0.75).astype(np.uint8)
    colour = stage_colour(result)
    cv2.rectangle(canvas, (pad, pad), (pad + round(5 * unit), pad + height - 1), colour, -1)
    x = pad + round(18 * unit)
    percent = f"{result.probability:.0%}"
    (percent_width, _), _ = cv2.getTextSize(percent, FONT, 0.85 * unit, stroke(unit))
    room = width - (x - pad) - percent_width - round(24 * unit)
    label = shorten(printable(result.text), room, 0.85 * unit, stroke(unit))
    write(canvas, label, (x, pad + round(32 * unit)), 0.85 * unit, INK, stroke(unit))
    write(
        canvas,
        percent,
        (pad + width - percent_width - round(10 * unit), pad + round(32 * unit)),
        0.85 * unit,
        INK,
        stroke(unit),
    )
    bar_left, bar_right = x, pad + width - round(10 * unit)
    y = pad + round(44 * unit)
    cv2.rectangle(canvas, (bar_left, y), (bar_right, y + round(5 * unit)), (80, 80, 80), -1)
    filled = bar_left + round((bar_right - bar_left) * result.probability)
    cv2.rectangle(canvas, (bar_left, y), (filled, y + round(5 * unit)), colour, -1)
    who = "EE exit" if result.exits_early else "SAC"
    text_y = pad + round(72 * unit)
    write(canvas, who, (x, text_y), 0.5 * unit, colour, stroke(unit))
    (who_width, _), _ = cv2.getTextSize(who, FONT, 0.5 * unit, stroke(unit))
    write(canvas, reason(result, threshold), (x + who_width + round(10 * unit), text_y), 0.5 * unit, FAINT, 1)


def draw_status(canvas: ImageU8, running: Running) -> None:
    """The bottom line: running exit rate, this frame's milliseconds, drops if there were any."""
    unit = min(canvas.shape[:2]) / 480
    text = f"exits {running.exit_rate:.0%}   {running.frame_ms:.1f} ms"
    if running.dropped:
        text += f"   {running.dropped} dropped"
    (width, height), _ = cv2.getTextSize(text, FONT, 0.5 * unit, 1)
    pad = round(12 * unit)
    bottom = canvas.shape[0] - pad
    strip = canvas[bottom - height - pad : bottom, pad : pad + width + 2 * pad]
    strip[:] = (strip * 0.25 + np.array(PANEL) * 0.75).astype(np.uint8)
    write(canvas, text, (2 * pad, bottom - pad // 2), 0.5 * unit, INK, 1)


def write(
    canvas: ImageU8, text: str, place: tuple[int, int], size: float, colour: tuple[int, int, int], width: int
) -> None:
    cv2.putText(canvas, text, place, FONT, size, colour, width, cv2.LINE_AA)


def enlarged(image: ImageU8, scale: float) -> ImageU8:
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)  # type: ignore[return-value]


def stroke(unit: float) -> int:
    return max(1, round(unit))


def printable(text: str) -> str:
    """OpenCV's own font has ASCII only."""
    return text.encode("ascii", "replace").decode()


def shorten(text: str, room: int, size: float, width: int) -> str:
    """The text, cut with dots so that it is at most `room` pixels wide."""
    if cv2.getTextSize(text, FONT, size, width)[0][0] <= room:
        return text
    while text and cv2.getTextSize(text + "...", FONT, size, width)[0][0] > room:
        text = text[:-1]
    return text + "..."
