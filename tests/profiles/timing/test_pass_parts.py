"""A pass in its parts, as trtexec's file of times has them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sacvit.profiles.timing import pass_parts
from sacvit.profiles.timing.inputs import load_images
from sacvit.profiles.timing.pass_parts import time_parts
from sacvit.profiles.timing.trtexec import Pass
from sacvit.runtime.chain.gate import Gate
from sacvit.runtime.chain.pipeline import Pipeline

Timed = dict[str, tuple[list[Pass], float]]


@pytest.fixture(scope="module")
def timed(bundles: Path) -> Iterator[Timed]:
    """Both stages of one pair, over 20 passes."""
    folder = bundles / "bundle"
    pipeline = Pipeline.load(folder / "ee.onnx", folder / "sac.onnx")
    images = load_images(None, folder, pipeline.preprocessing)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pass_parts, "MOST_PASSES", 20)
        patch.setattr(pass_parts, "MOST_S", 1e9)  # or a loaded machine makes fewer
        yield time_parts(pipeline, Gate(0.5), images, 1)


def test_the_paths_are_those_of_the_tuned_temperature(bundles: Path) -> None:
    """At temperature 3 no confidence of this bundle reaches 0.9; the engine's own ones do."""
    folder = bundles / "bundle"
    pipeline = Pipeline.load(folder / "ee.onnx", folder / "sac.onnx")
    images = load_images(None, folder, pipeline.preprocessing)
    paths = {}
    for temperature in (1.0, 3.0):
        timed = time_parts(pipeline, Gate(0.6, temperature), images, 1)
        paths[temperature] = {one.labels["path"] for one in timed["EE"][0]}
    assert paths[1.0] == {"exit", "full"} and paths[3.0] == {"full"}


@pytest.mark.parametrize("part", ["enqueue", "h2d", "compute", "d2h"])
def test_no_part_of_a_pass_ends_before_it_begins(timed: Timed, part: str) -> None:
    for one in timed["SAC"][0]:
        begin, end = getattr(one, part)
        assert np.isfinite([begin, end]).all() and begin <= end


def test_each_stage_makes_that_many_passes(timed: Timed) -> None:
    assert {stage: len(passes) for stage, (passes, _) in timed.items()} == {"EE": 20, "SAC": 20}
