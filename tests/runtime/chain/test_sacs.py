"""Several SACs with different shares of target blocks behind one EE."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from sacvit.bundle.errors import EngineError
from sacvit.bundle.manifest import SacUse, Tuned
from sacvit.bundle.stored_gate import write_tuned
from sacvit.runtime.chain.pipeline import Pipeline
from sacvit.runtime.engines.options import EngineOptions
from sacvit.runtime.engines.pairs import load_pair

TARGETS = {0.25: 4, None: 8, 0.75: 12}  # of 16 blocks; None: the bundle's own alpha, 0.5


@pytest.fixture
def folder(bundles, tmp_path) -> Path:
    return shutil.copytree(bundles / "alphas", tmp_path / "alphas")


def sac_file(folder: Path, alpha: float | None) -> Path:
    return folder / ("sac.onnx" if alpha is None else f"sac-alpha{alpha:g}.onnx")


def tune(folder: Path, *sacs: tuple[float | None, float]) -> None:
    ee, _ = load_pair(folder / "ee.onnx", folder / "sac.onnx", EngineOptions("cpu"))
    write_tuned(ee.path, ee.record, Tuned(1.0, 1.0, "a test", sacs=[SacUse(*one) for one in sacs]))


@pytest.fixture
def alone(folder, pictures) -> dict:
    """The results of each SAC by itself, on every picture."""
    return {
        alpha: Pipeline.load(folder / "ee.onnx", sac_file(folder, alpha), threshold=1.0)(list(pictures), logits=True)
        for alpha in TARGETS
    }


def test_each_sac_of_a_bundle_takes_its_own_number_of_target_blocks(alone):
    assert {alpha: {len(result.target_blocks) for result in results} for alpha, results in alone.items()} == {
        alpha: {count} for alpha, count in TARGETS.items()
    }


def test_a_smaller_share_takes_the_most_attended_of_the_same_blocks(alone):
    for few, many in zip(alone[0.25], alone[0.75], strict=True):
        assert many.target_blocks[:4] == few.target_blocks


def test_an_image_gets_the_sac_that_its_confidence_chooses(folder, pictures, alone):
    confidences = [result.confidence for result in alone[None]]
    ordered = sorted(confidences)
    low, high = ordered[len(ordered) // 3], ordered[2 * len(ordered) // 3]  # an image at the bound is not below it
    tune(folder, (0.75, low), (None, high), (0.25, 1.0))
    chosen = [0.75 if one < low else None if one < high else 0.25 for one in confidences]
    assert len(set(chosen)) == 3
    for batch in (1, len(pictures)):
        pipeline = Pipeline.load(folder)
        found = []
        for start in range(0, len(pictures), batch):
            found += pipeline(list(pictures[start : start + batch]), logits=True)
        for place, (alpha, result) in enumerate(zip(chosen, found, strict=True)):
            assert len(result.target_blocks) == TARGETS[alpha]
            np.testing.assert_allclose(result.logits, alone[alpha][place].logits, atol=1e-5)


def test_one_share_may_serve_every_image(folder, pictures, alone):
    tune(folder, (0.25, 1.0))
    for result, expected in zip(Pipeline.load(folder)(list(pictures)), alone[0.25], strict=True):
        assert (result.index, result.target_blocks) == (expected.index, expected.target_blocks)


def test_what_ee_hands_over_is_read_in_place_by_every_sac(folder, pictures):
    tune(folder, (0.75, 0.5), (0.25, 1.0))
    pipeline = Pipeline.load(folder)
    track = pipeline.track(2)
    binding = track.sac_binding(2)
    for name in ("image", *pipeline.ee.record.hand_off):
        assert binding._buffers[name].address == track.ee[name].address


def test_a_sac_that_is_given_by_name_takes_precedence_over_those_of_the_gate(folder, pictures):
    tune(folder, (0.75, 1.0))
    pipeline = Pipeline.load(folder / "ee.onnx", sac_file(folder, 0.25))
    assert len(pipeline(pictures[0]).target_blocks) == 4


def test_the_repr_names_the_sacs(folder):
    tune(folder, (0.75, 0.5), (None, 1.0))
    assert "alpha 0.75 below 0.5, the bundle's own SAC above" in repr(Pipeline.load(folder))


def test_a_sac_that_is_missing_is_named_with_both_cures(folder):
    tune(folder, (0.75, 1.0))
    sac_file(folder, 0.75).unlink()
    with pytest.raises(EngineError, match=r"sac-alpha0\.75\.onnx is missing.*--sac-alpha.*--alpha"):
        Pipeline.load(folder)


def test_a_sac_of_another_export_is_refused(folder, bundles):
    tune(folder, (0.75, 1.0))
    shutil.copy(bundles / "cousin" / "sac.onnx", sac_file(folder, 0.75))
    with pytest.raises(EngineError, match="another export"):
        Pipeline.load(folder)


def test_confidences_that_do_not_rise_are_refused(folder):
    tune(folder, (0.75, 0.5), (0.25, 0.5))
    with pytest.raises(EngineError, match="do not rise"):
        Pipeline.load(folder)
