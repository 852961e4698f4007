"""The experiment on what the papers leave open: runs share their first phase, and the page has the numbers of the runs."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("skimage")

pytestmark = pytest.mark.programs

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module", autouse=True)
def example_on_the_path():
    sys.path.insert(0, str(ROOT / "examples" / "digits"))
    yield
    sys.path.remove(str(ROOT / "examples" / "digits"))


@pytest.fixture
def ambiguities(monkeypatch):
    """The experiment in small: 128 scenes, two epochs, the second one clustered."""
    import ambiguities

    monkeypatch.setattr(ambiguities, "SCENES", {"train": 128, "val": 20, "test": 40})
    monkeypatch.setattr(ambiguities, "RECIPE", replace(ambiguities.RECIPE, epochs=2, unclustered_epochs=1))
    return ambiguities


def test_variants_share_their_first_phase_and_differ_in_the_second(ambiguities, tmp_path):
    from sacvit.training.dataset import open_split

    ambiguities.write_scenes(tmp_path / "data")
    splits = {name: open_split(tmp_path / "data" / name, ambiguities.RULE) for name in ambiguities.SCENES}
    out = tmp_path / "runs"
    out.mkdir()
    runs = {
        name: ambiguities.run_variant(name, 0, splits, out) for name in ("default", "outputs", "one-table", "at-once")
    }
    first = {name: run["loss"][0] for name, run in runs.items()}
    assert first["default"] == first["outputs"] and len(set(first.values())) == 3
    assert runs["default"]["loss"][1] != runs["outputs"]["loss"][1]
    assert sorted(path.name for path in out.glob("*.pth")) == ["first-vit-one-0.pth", "first-vit-two-0.pth"]


def test_a_run_that_has_its_result_is_not_repeated(ambiguities, tmp_path):
    (tmp_path / "default-0.json").write_text('{"seed": 0}')
    assert ambiguities.run_variant("default", 0, {}, tmp_path) == {"seed": 0}


def test_the_most_confident_images_exit(ambiguities):
    from sacvit.profiles.tuning.curve import Judged

    flags = np.array([True, False, True, False])
    none = np.zeros(4, np.float32)
    judged = Judged(np.array([0.9, 0.8, 0.2, 0.1], np.float32), flags, ~flags, flags, flags, none, none)
    assert ambiguities.chain_accuracy(judged, 0.25) == 0.75  # EE on the first, SAC on the others
    assert ambiguities.chain_accuracy(judged, 0.75) == 0.75
    assert ambiguities.chain_accuracy(judged, 1.0) == 0.5


def test_the_page_has_the_tables_of_the_runs():
    import model_figures

    runs = model_figures.by_variant(json.loads((ROOT / "docs" / "measured" / "ambiguities.json").read_text())["runs"])
    page = (ROOT / "docs" / "model.md").read_text()
    assert model_figures.accuracy_table(runs) in page
    assert model_figures.stability_table(runs) in page
    rows = json.loads((ROOT / "docs" / "measured" / "switches.json").read_text())["rows"]
    assert model_figures.products_table(rows) in page
