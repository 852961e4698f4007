"""The part of tune.html on boxed objects, from tune.json alone, which may be damaged."""

from __future__ import annotations

import json
import random

import pytest

from sacvit.bundle.errors import SacvitError
from sacvit.profiles.reports import figures
from sacvit.profiles.reports.tune_page import write_tune_page
from sacvit.profiles.reports.tune_text import summary_lines
from sacvit.profiles.results.result_files import read_tune

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

HALF = {"value": 0.5, "low": 0.4, "high": 0.625}
BIN = {"images": 20, "share": HALF, "ee_top1": HALF, "sac_top1": HALF | {"value": 0.6}}
OBJECTS = {
    "images": 40,
    "boxes": 43,
    "out_of_view": 2,
    "targets": 8,
    "blocks": 16,
    "share": {"found": HALF, "best": 0.75, "chance": 0.5},
    "by_confidence": [BIN | {"confidence": 0.25}, BIN | {"confidence": 0.875}],
    "by_share": [BIN | {"least": 0.0, "most": 0.25}],
    "missed": [{"image": "<b>7.png", "share": 0.0, "confidence": 0.3, "ee_right": True, "sac_right": False}],
}
INSIDE = "Share of the object inside the targets against EE&#x27;s confidence"


def with_objects(folder, objects=OBJECTS):
    content = json.loads((folder / "tune.json").read_text())
    content.pop("checksum", None)  # a test changes it by hand
    (folder / "tune.json").write_text(json.dumps(content | {"objects": objects}))
    return folder


def page_of(folder):
    write_tune_page(folder, folder / "tune.html")
    return (folder / "tune.html").read_text()


@pytest.mark.usefixtures("figures_as_labels")
def test_the_page_draws_the_share_and_the_accuracy_beside_it(tuned):
    page = page_of(with_objects(tuned))
    assert INSIDE in page and "Top-1 of both stages on the same images" in page
    assert "<td>0 to 25 %</td><td>20</td><td>50.0</td><td>40.0 to 62.5</td><td>60.0</td>" in page
    assert "Objects: 50.0 % of their area lies inside the 8 of 16 target blocks (95 %: 40.0 to 62.5" in page
    assert "<td>&lt;b&gt;7.png</td><td>0 %</td><td>0.30</td><td>right</td><td>wrong</td>" in page


@pytest.mark.usefixtures("figures_as_labels")
@pytest.mark.parametrize(
    "objects",
    [None, OBJECTS | {"share": None}, OBJECTS | {"by_confidence": []}],
    ids=["no boxes", "none in view", "no bins"],
)
def test_without_objects_the_page_has_no_such_part(tuned, objects):
    assert "Objects and target blocks" not in page_of(tuned if objects is None else with_objects(tuned, objects))


def test_objects_with_any_value_spoilt_are_read_or_refused_in_our_words(tuned, spoilt, monkeypatch):
    monkeypatch.setattr(figures, "render", lambda *_: "")
    choose, refused = random.Random(0), 0
    for _ in range(100):
        with_objects(tuned, spoilt({"objects": OBJECTS}, choose).get("objects", OBJECTS))
        try:
            result = read_tune(tuned)
        except SacvitError as fault:
            refused += 1
            assert "tune.json" in str(fault)
        else:
            assert summary_lines(result) and page_of(tuned)
    assert 0 < refused < 100
