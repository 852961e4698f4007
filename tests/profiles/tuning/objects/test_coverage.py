"""The share of objects inside the targets: from made rows, and as sacvit-tune gives it to a user with boxes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from sacvit.bundle.preprocess import Preprocessing
from sacvit.commands.tune import main
from sacvit.images.boxes.columns import Box
from sacvit.images.labelled import Labelled
from sacvit.profiles.results.result_files import read_tune
from sacvit.profiles.tuning import resampling
from sacvit.profiles.tuning.curve import Judged
from sacvit.profiles.tuning.objects.coverage import describe_objects
from sacvit.profiles.tuning.objects.target_blocks import ROWS_NAME
from sacvit.runtime.chain.track import Track

BUNDLE = Path(__file__).parents[3] / "runtime" / "bundles" / "typed"
NAMES = ["ant", "bee", "cat", "dog", "emu"]
RULE = Preprocessing(40, fit="stretch")


def described(boxes, targets, confidence, ee_right, sac_right):
    """Of pictures of 40 x 40 pixels with 4 x 4 blocks."""
    count = len(boxes)
    flags = [np.array(ee_right, bool), np.array(sac_right, bool), *[np.zeros(count, bool)] * 2]
    judged = Judged(np.array(confidence, np.float32), *flags, *[np.zeros(count, np.float32)] * 2)
    found = [tuple(Box(*box, 1) for box in own) for own in boxes]
    data = Labelled("made", Path(), [f"{i}.png" for i in range(count)], np.zeros(count, int), "", lambda _: None, found)
    sizes = np.full((count, 2), 40, np.int32)
    return describe_objects(data, np.arange(count), judged, sizes, np.array(targets, np.int32), RULE, 4)


def test_the_share_is_of_the_area_of_all_boxes():
    found = described([[(0, 0, 10, 10), (30, 30, 10, 5)]], [[0, 1]], [0.5], [True], [True])
    assert found["share"]["found"]["value"] == pytest.approx(2 / 3, abs=1e-6)
    assert (found["images"], found["boxes"], found["targets"], found["blocks"]) == (1, 2, 2, 16)


def test_the_best_choice_and_a_random_one_stand_beside_it():
    """Two blocks hold at most half of an object of four."""
    found = described([[(20, 20, 20, 20)]], [[0, 15]], [0.5], [True], [True])["share"]
    assert (found["found"]["value"], found["best"], found["chance"]) == (0.25, 0.5, 0.125)


def test_bins_go_by_confidence_and_hold_the_same_images_for_accuracy():
    rng = np.random.default_rng(0)
    confidence = rng.permutation(np.linspace(0, 1, 160))
    is_sure = confidence > 0.5
    targets = np.where(is_sure[:, None], [[0, 1]], [[14, 15]])
    found = described([[(0, 0, 10, 10)]] * 160, targets, confidence, is_sure, np.ones(160))
    bins = found["by_confidence"]
    assert [one["images"] for one in bins] == [20] * 8
    assert [one["share"]["value"] for one in bins] == [0] * 4 + [1] * 4 == [one["ee_top1"]["value"] for one in bins]
    assert [one["sac_top1"]["value"] for one in bins] == [1] * 8
    assert sorted(bins, key=lambda one: one["confidence"]) == bins


def test_accuracy_stands_by_share_and_the_worst_are_named():
    boxes = [[(0, 0, 10, 10)]] * 3
    found = described(boxes, [[0, 1], [5, 6], [0, 2]], [0.9, 0.4, 0.8], [1, 0, 1], [1, 0, 0])
    none, whole = found["by_share"]
    assert (none["least"], none["most"], none["images"], none["sac_top1"]["value"]) == (0, 0.25, 1, 0)
    assert (whole["least"], whole["most"], whole["images"], whole["sac_top1"]["value"]) == (0.95, 1, 2, 0.5)
    worst = found["missed"][0]
    assert worst == {
        "image": "1.png",
        "share": 0,
        "confidence": pytest.approx(0.4),
        "ee_right": False,
        "sac_right": False,
    }


def test_an_object_out_of_view_is_counted_and_left_out():
    found = described([[(0, 0, 10, 10)], [(-30, 0, 10, 10)]], [[0, 1], [0, 1]], [0.9, 0.9], [1, 0], [1, 0])
    assert (found["images"], found["out_of_view"], found["share"]["found"]["value"]) == (1, 1, 1)


def test_where_no_object_is_in_view_there_is_no_share():
    assert described([[(-30, 0, 10, 10)]], [[0, 1]], [0.9], [1], [1])["share"] is None


# As a user calls it


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A folder with a bundle and 60 pictures, tuned with boxes, `out`; and the text of the run."""
    home = tmp_path_factory.mktemp("boxed")
    shutil.copytree(BUNDLE, home / "bundle")
    rows = ["path,label,x,y,w,h"]
    for index in range(60):
        field = np.random.default_rng(index).uniform(0, 255, (5, 5, 3)).astype(np.float32)
        assert cv2.imwrite(str(home / f"{index:02}.png"), np.clip(cv2.resize(field, (32, 32)), 0, 255).astype(np.uint8))
        rows += [f"{index:02}.png,{NAMES[index % 5]},8,8,16,{1 + index % 16}"] * (1 + index % 2)
    (home / "list.csv").write_text("\n".join(rows))
    return home


@pytest.fixture
def command(tuned, tmp_path, monkeypatch):
    monkeypatch.setattr(resampling, "RESAMPLES", 20)
    monkeypatch.setattr(resampling, "SPLITS", 5)
    monkeypatch.setattr("sacvit.commands.tune.write_page", lambda out: "no page")
    engines = ["--engine", *(str(tuned / "bundle" / name) for name in ("ee.onnx", "sac.onnx"))]
    return [*engines, "--data", str(tuned / "list.csv"), "--out", str(tmp_path / "out"), "--provider", "cpu"]


def test_boxes_give_an_entry_and_a_line(command, tmp_path, capsys):
    assert main(command) == 0
    objects = read_tune(tmp_path / "out")["objects"]
    data = json.loads((tmp_path / "out" / "tune.json").read_text())["data"]
    assert objects["images"] == data["images_report"] and objects["out_of_view"] == 0
    assert objects["share"]["chance"] == 0.5 and 0 < objects["share"]["found"]["value"] < objects["share"]["best"]
    assert f"objects: {100 * objects['share']['found']['value']:.1f} % of their area" in capsys.readouterr().out


def test_without_boxes_there_is_neither_an_entry_nor_a_file_nor_a_line(command, tuned, tmp_path, capsys):
    (tuned / "bare.csv").write_text("".join(f"{index:02}.png,{NAMES[index % 5]}\n" for index in range(60)))
    command[command.index("--data") + 1] = str(tuned / "bare.csv")
    assert main(command) == 0
    assert "objects" not in json.loads((tmp_path / "out" / "tune.json").read_text())
    assert not (tmp_path / "out" / "answers" / ROWS_NAME).exists() and "objects:" not in capsys.readouterr().out


def test_boxes_that_are_added_later_need_no_new_answers(command, tuned, tmp_path, monkeypatch):
    (tuned / "later.csv").write_text("path,label\n" + "".join(f"{i:02}.png,{NAMES[i % 5]}\n" for i in range(60)))
    command[command.index("--data") + 1] = str(tuned / "later.csv")
    assert main(command) == 0
    (tuned / "later.csv").write_text((tuned / "list.csv").read_text())
    answered = "sacvit.profiles.tuning.stored_answers._answer"
    monkeypatch.setattr(answered, lambda *_: pytest.fail("an image was answered again"))
    assert main(command) == 0 and "objects" in read_tune(tmp_path / "out")


def test_boxes_on_the_fitted_images_alone_are_said_to_be_unused(command, tuned, tmp_path, capsys):
    for index in range(60):
        shutil.copy(tuned / f"{index:02}.png", tmp_path / f"{index:02}.png")
    (tmp_path / "bare.csv").write_text("".join(f"{index:02}.png,{NAMES[index % 5]}\n" for index in range(60)))
    assert main([*command, "--report-data", str(tmp_path / "bare.csv")]) == 0
    words = "bare.csv has no boxes, and objects are reported on --report-data: add the columns x, y, w and h"
    assert words in capsys.readouterr().err and "objects" not in read_tune(tmp_path / "out")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            "00.png,ant,30,0,16,4",
            "line 2: the box from (30, 0) to (46, 4) reaches out of 00.png, which has 32 x 32 pixels",
        ),
        ("00.png,ant,0,0,0,4", "line 2: the box has w = 0 and h = 4"),
        ("00.png,ant,0,0,-3,4", "line 2: the box has w = -3 and h = 4"),
        ("00.png,ant,0,zero,3,4", "line 2: y is 'zero', which is no number"),
        ("00.png,ant,,,,", "line 2: x is empty, so this picture has no box"),
    ],
)
def test_a_bad_box_ends_the_command_before_any_pass(row, words, command, tuned, tmp_path, monkeypatch, capsys):
    (tuned / "bad.csv").write_text(f"path,label,x,y,w,h\n{row}\n01.png,bee,1,1,4,4\n")
    command[command.index("--data") + 1] = str(tuned / "bad.csv")
    monkeypatch.setattr(Track, "start", lambda *_: pytest.fail("a pass was run"))
    assert main(command) == 1
    shown = capsys.readouterr().err
    assert f"bad.csv, {words}" in shown and "correct the row" in shown
