"""A pipeline over a dense bundle: the cells of the stage that answered, the gate on the least sure one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")  # the bundle is exported here

from sacvit.bundle.errors import UsageError
from sacvit.bundle.gating import confidence_of
from sacvit.runtime.chain.gate import Gate
from sacvit.runtime.chain.pipeline import Pipeline


@pytest.fixture(scope="module")
def pipeline(dense_bundle: Path) -> Pipeline:
    return Pipeline.load(dense_bundle)


@pytest.mark.parametrize("stage", ["EE", "SAC"])
def test_a_result_has_the_classes_and_confidences_of_the_stage_that_answered(
    pipeline: Pipeline, images: np.ndarray, stage: str
) -> None:
    pipeline.threshold = 0.0 if stage == "EE" else 1.0
    for result in pipeline(images, logits=True):
        assert result.stage == stage and result.cells is not None and result.logits is not None
        np.testing.assert_array_equal(result.cells.classes, result.logits.argmax(-1))
        assert result.cells.classes.shape == (8, 8)
        assert result.probability == pytest.approx(float(result.cells.confidence.min()), abs=1e-6)
        assert result.probability == pytest.approx(float(confidence_of(result.logits[None])[0]), abs=1e-6)


def test_the_stages_answer_differently(pipeline: Pipeline, images: np.ndarray) -> None:
    answers = []
    for pipeline.threshold in (0.0, 1.0):
        answers.append([result.logits for result in pipeline(images, logits=True)])
    assert not np.allclose(*map(np.stack, answers))


def test_an_image_exits_when_its_least_sure_cell_is_sure(pipeline: Pipeline, images: np.ndarray) -> None:
    pipeline.threshold = 0.0
    least = [result.cells.confidence.min() for result in pipeline(images) if result.cells]
    pipeline.threshold = float(np.median(least))
    exits = [result.exits_early for result in pipeline(images)]
    assert exits == [value >= np.float32(pipeline.threshold) for value in least] and 0 < sum(exits) < len(exits)


def test_a_temperature_of_the_gate_counts_per_cell(pipeline: Pipeline, images: np.ndarray) -> None:
    pipeline.gate = Gate(0.0, temperature=2.0)
    result = pipeline(images[0], logits=True)
    assert result.logits is not None
    assert result.confidence == pytest.approx(float(confidence_of(result.logits[None], 2.0)[0]), abs=1e-6)
    pipeline.gate = Gate(0.5)


def test_the_label_is_that_of_most_cells_and_the_text_names_the_others(pipeline: Pipeline, images: np.ndarray) -> None:
    result = pipeline(images[0])
    assert result.cells is not None
    assert result.index == np.bincount(result.cells.classes.ravel()).argmax()
    assert result.text == result.cells.text() and result.text in repr(result)


def test_classes_of_an_image_are_not_ranked(pipeline: Pipeline, images: np.ndarray) -> None:
    with pytest.raises(UsageError, match="ranks 0 classes"):
        pipeline(images[0]).top(2)


def test_a_pipeline_says_that_it_answers_per_cell(pipeline: Pipeline) -> None:
    assert "3 classes for 8 x 8 cells (ground, bolt, nut)" in repr(pipeline)
