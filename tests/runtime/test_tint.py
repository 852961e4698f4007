"""What a dense answer looks like: in pictures and in lines."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sacvit.runtime.chain.cells import Cells
from sacvit.runtime.chain.result import Result
from sacvit.runtime.sinks.lines import JsonLines, Table
from sacvit.runtime.sinks.overlay import Running, draw_overlay
from sacvit.runtime.sinks.sheet import Sheet
from sacvit.runtime.sinks.sink import Answer
from sacvit.runtime.sinks.tint import COLOURS, STRENGTH, tint_cells
from sacvit.runtime.sources.frame import Frame

LABELS = ("ground", "bolt", "nut")


def cells(confidence: float = 1.0) -> Cells:
    """4 x 4, with a bolt in the top right cell and a nut in the bottom left one."""
    classes = np.zeros((4, 4), np.intp)
    classes[0, 3], classes[3, 0] = 1, 2
    return Cells(classes, np.full((4, 4), confidence, np.float32), LABELS)


def answer(stage: str = "SAC") -> Answer:
    result = Result(0, "ground", 0.6, stage, 0.6, (1,), 1.0, 2.0 if stage == "SAC" else None, cells=cells())
    image = np.full((480, 640, 3), 100, np.uint8)
    view = np.full((32, 32, 3), 100, np.uint8)
    return Answer(Frame(0, "f.png", image), result, view, (0, 80, 480, 480), 2, 0.7, 0.1, 1.0, Running(0.5, 3.0, 0))


def test_cells_of_the_ground_are_left_alone_and_others_get_the_colour_of_their_class() -> None:
    view = np.full((40, 40, 3), 100, np.uint8)
    tint_cells(view, cells())
    for place, colour in (((5, 35), COLOURS[0]), ((35, 5), COLOURS[1])):
        np.testing.assert_allclose(view[place], (1 - STRENGTH) * 100 + STRENGTH * colour, atol=1)
    assert (view[10:30, 10:30] == 100).all()


def test_an_unsure_cell_is_tinted_less() -> None:
    sure, unsure = (np.full((8, 8, 3), 100, np.uint8) for _ in range(2))
    tint_cells(sure, cells())
    tint_cells(unsure, cells(0.4))
    assert 0 < abs(int(unsure[0, 7, 0]) - 100) < abs(int(sure[0, 7, 0]) - 100)


def test_there_are_colours_for_any_number_of_classes() -> None:
    many = Cells(np.full((2, 2), 50), np.ones((2, 2), np.float32), [str(index) for index in range(60)])
    view = np.zeros((4, 4, 3), np.uint8)
    tint_cells(view, many)
    assert view.any()


def test_the_overlay_tints_the_region_and_does_not_dim_what_is_no_target() -> None:
    shown = answer()
    canvas = draw_overlay(shown.frame.image, shown.region, 2, shown.result, 0.7, shown.running)
    assert (canvas[420, 140] != 100).any()  # the nut
    assert (canvas[300, 300] == 100).all()  # the ground, in a block that is no target


@pytest.mark.parametrize("stage", ["EE", "SAC"])
def test_the_sheet_is_tinted_too(tmp_path, stage: str) -> None:
    sheet = Sheet(tmp_path / "sheet.png")
    sheet.write(answer(stage))
    picture = sheet.draw()
    nut = np.clip((1 - STRENGTH) * 100 + STRENGTH * COLOURS[1].astype(int), 0, 255)
    assert (np.abs(picture.astype(int) - nut).max(-1) <= 2).sum() > 500


def test_a_json_line_holds_the_cells_in_runs(capsys) -> None:
    JsonLines().write(answer())
    line = json.loads(capsys.readouterr().out)
    assert line["cells"] == {"side": 4, "runs": [0, 3, 1, 1, 0, 8, 2, 1, 0, 3]}


def test_the_table_names_what_lies_on_the_ground(capsys) -> None:
    Table().write(answer())
    assert "bolt 6%, nut 6%" in capsys.readouterr().out
