"""The experiment on a hierarchical backbone: what is compared is comparable, and the page has the numbers of the runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("skimage")

from sacvit.model.config import ModelConfig, preset
from sacvit.model.cost import count_cost

pytestmark = pytest.mark.programs

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "examples" / "digits"


@pytest.fixture(scope="module", autouse=True)
def example_on_the_path() -> Iterator[None]:
    sys.path.insert(0, str(EXAMPLE))
    yield
    sys.path.remove(str(EXAMPLE))


@pytest.fixture
def hierarchical(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The experiment in small: 64 scenes, two epochs, the second one clustered."""
    import ambiguities
    import hierarchical

    for module in (ambiguities, hierarchical):
        monkeypatch.setattr(module, "SCENES", {"train": 64, "val": 20, "test": 40})
        monkeypatch.setattr(module, "RECIPE", replace(module.RECIPE, epochs=2, unclustered_epochs=1))
    return hierarchical


def test_every_variant_is_trained_and_judged(
    hierarchical: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--data", tmp_path / "data", "--out", tmp_path / "runs", "--json", tmp_path / "found.json", "--seeds", "0"]
    monkeypatch.setattr(sys, "argv", ["hierarchical.py", *map(str, words)])
    hierarchical.main()
    runs = {run["variant"]: run for run in json.loads((tmp_path / "found.json").read_text())["runs"]}
    assert list(runs) == list(hierarchical.CONFIGS)
    assert runs["attended"]["loss"][0] == runs["norm"]["loss"][0] != runs["vit"]["loss"][0]
    assert all(0 < runs[name]["inside"] <= 1 for name in ("vit", "attended", "norm"))
    assert all(0 <= runs[name]["full"] <= 1 for name in ("full", "vit-full"))


def test_digits_are_lighter_than_the_ground(hierarchical: Any) -> None:
    import ambiguities
    from scenes import load_material

    material, rng = load_material("test"), np.random.default_rng(0)
    images = [ambiguities.draw_scene(rng, material, 32)[0] for _ in range(40)]
    shares = [(image.mean(-1) > hierarchical.DARKEST_DIGIT).mean() for image in images]
    assert min(shares) > 0.02 and max(shares) < 0.5


@pytest.mark.parametrize("stage", ["ee", "sac", "plain"])
def test_what_is_compared_has_equal_macs(hierarchical: Any, stage: str) -> None:
    def macs(config: ModelConfig) -> int:
        found: int = getattr(count_cost(config), stage).macs
        return found

    assert macs(hierarchical.HIERARCHICAL) == pytest.approx(macs(hierarchical.VIT), rel=0.025)
    assert macs(preset("hierarchical-s")) == pytest.approx(macs(preset("deit-s")), rel=0.05)


def test_the_benchmark_measures_the_geometry_of_the_experiment(hierarchical: Any) -> None:
    measured = json.loads((ROOT / "docs" / "measured" / "hierarchical_cost.json").read_text())["configs"]["32 pixels"]
    expected = {"vit": hierarchical.VIT, "hierarchical": hierarchical.HIERARCHICAL}
    assert measured == {family: config.to_dict() for family, config in expected.items()}


def test_the_page_has_the_tables_of_the_runs() -> None:
    import hierarchical_figures

    page = (ROOT / "docs" / "hierarchical.md").read_text()
    measured = json.loads((ROOT / "docs" / "measured" / "hierarchical.json").read_text())
    assert hierarchical_figures.accuracy_table(measured) in page
    assert hierarchical_figures.difference_table(measured) in page
    rows = json.loads((ROOT / "docs" / "measured" / "hierarchical_cost.json").read_text())["rows"]
    assert hierarchical_figures.cost_table(rows) in page
