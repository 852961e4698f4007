"""The dense example: its scenes, its committed networks, and what docs/dense.md claims of them."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("skimage")

from sacvit import Pipeline, export
from sacvit.training.dense.score import count_cells

pytestmark = pytest.mark.programs

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "examples" / "digits"
SCENES = 200
SPREAD = 3.5  # points of mIoU: above three times the bootstrap's deviation over SCENES scenes


@pytest.fixture(scope="module")
def unseen() -> tuple[np.ndarray, np.ndarray]:
    """Fresh scenes of the test material, drawn with a seed that nothing else uses."""
    sys.path.insert(0, str(EXAMPLE))
    try:
        import make_dense_scenes as scenes
    finally:
        sys.path.remove(str(EXAMPLE))
    material, rng = scenes.load_material("test"), np.random.default_rng(4243)
    drawn = [
        scenes.draw_dense_scene(rng, material, float(value))
        for value in scenes.draw_difficulties(rng, SCENES, 0.5, 0.9)
    ]
    return np.stack([image for image, _ in drawn]), np.stack([mask for _, mask in drawn])


@pytest.fixture(scope="module")
def numbers() -> dict[str, Any]:
    return json.loads((ROOT / "docs" / "dense" / "numbers.json").read_text())


def test_the_committed_chain_has_the_page_s_miou_on_fresh_scenes(
    unseen: Any, numbers: dict[str, Any], tmp_path: Path
) -> None:
    images, truth = unseen
    pipeline = Pipeline.load(export(EXAMPLE / "dense.pth", tmp_path / "build").folder)
    results = pipeline(images)
    found = count_cells(np.stack([result.cells.classes for result in results]), truth, 2).miou()
    assert 100 * found == pytest.approx(numbers["rows"]["uncertain, chain"]["miou"], abs=SPREAD)


def test_the_page_s_table_has_the_measured_numbers(numbers: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "dense.md").read_text()
    for name, entries in numbers["rows"].items():
        low, high = entries["interval"]
        assert f"{entries['miou']:.1f} ({low:.1f} to {high:.1f})" in page, name


def test_the_page_s_table_over_seeds_has_the_measured_numbers() -> None:
    sys.path.insert(0, str(EXAMPLE))
    try:
        import dense_seeds
    finally:
        sys.path.remove(str(EXAMPLE))
    seeds = json.loads((ROOT / "docs" / "measured" / "dense_seeds.json").read_text())["seeds"]
    assert dense_seeds.seeds_table(seeds) in (ROOT / "docs" / "dense.md").read_text()


def test_a_scene_s_mask_marks_cells_that_ink_covers(unseen: Any) -> None:
    _, masks = unseen
    empty = (masks == 0).all((1, 2)).mean()
    assert set(np.unique(masks)) == {0, 1} and 0.25 < empty < 0.55


def test_the_logs_of_the_committed_networks_are_kept() -> None:
    names = [f"dense-{run}{seed}" for run in ("all", "uncertain", "attention", "plain") for seed in ("", "-11", "-21")]
    for name in names:
        lines = (EXAMPLE / "log" / f"{name}.jsonl").read_text().splitlines()
        assert re.search(r'"val_(sac_)?miou": 0\.\d', lines[-1])
