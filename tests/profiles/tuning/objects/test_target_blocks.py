"""Target blocks of images with boxes: stored once, continued after a kill, and refused where they are damaged."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from sacvit.bundle.errors import SacvitError
from sacvit.images.labelled import open_labelled
from sacvit.profiles.tuning.objects.target_blocks import ROWS_NAME, collect_targets
from sacvit.runtime.chain.pipeline import Pipeline
from sacvit.runtime.chain.track import Track

BUNDLE = Path(__file__).parents[3] / "runtime" / "bundles" / "typed"
COUNT = 9


@pytest.fixture(scope="module")
def pipeline():
    return Pipeline.load(BUNDLE / "ee.onnx", BUNDLE / "sac.onnx", provider="cpu")


@pytest.fixture
def data(tmp_path):
    rng, rows = np.random.default_rng(3), ["path,label,x,y,w,h"]
    for index in range(COUNT):
        field = cv2.resize(rng.uniform(0, 255, (4, 4, 3)).astype(np.float32), (48, 40))
        assert cv2.imwrite(str(tmp_path / f"{index}.png"), field.astype(np.uint8))
        rows.append(f"{index}.png,{index % 5},4,4,10,10")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    return open_labelled(tmp_path / "list.csv", 5, None)


@pytest.fixture
def passes(monkeypatch):
    """How many images each pass of EE took."""
    taken: list[int] = []
    real = Track.start
    monkeypatch.setattr(Track, "start", lambda self, count, *rest: (taken.append(count), real(self, count, *rest))[1])
    return taken


def collected(pipeline, data, folder, chosen=range(COUNT), batch=2):
    folder.mkdir(exist_ok=True)
    return collect_targets(pipeline, data, np.array(chosen), folder, batch, lambda done, total: None)


def test_they_are_those_that_the_chain_uses(pipeline, data, tmp_path):
    sizes, targets = collected(pipeline, data, tmp_path / "answers", chosen=[1, 4, 7])
    assert sizes.tolist() == [[40, 48]] * 3
    expected = [
        set(Pipeline(pipeline.ee, pipeline.sac, 1.0)(data.read(index), bgr=True).target_blocks) for index in (1, 4, 7)
    ]
    assert [set(row) for row in targets.tolist()] == expected


def test_a_second_call_runs_nothing(pipeline, data, tmp_path, passes):
    first = collected(pipeline, data, tmp_path / "answers")
    assert passes == [2, 2, 2, 2, 1]
    again = collected(pipeline, data, tmp_path / "answers")
    assert len(passes) == 5 and (first[1] == again[1]).all()


def test_a_killed_run_continues_after_its_last_whole_batch(pipeline, data, tmp_path, passes):
    expected = collected(pipeline, data, tmp_path / "answers")[1]
    rows = tmp_path / "answers" / ROWS_NAME
    rows.write_bytes(rows.read_bytes()[: 5 * 4 * (2 + expected.shape[1]) + 3])
    passes.clear()
    assert (collected(pipeline, data, tmp_path / "answers")[1] == expected).all() and passes == [2, 2, 1]


def test_other_images_are_run_again(pipeline, data, tmp_path, passes):
    collected(pipeline, data, tmp_path / "answers", chosen=[0, 1])
    passes.clear()
    collected(pipeline, data, tmp_path / "answers", chosen=[0, 2])
    assert passes == [2]


def test_a_picture_that_cannot_be_read_has_no_targets(pipeline, data, tmp_path):
    (tmp_path / "1.png").write_bytes(b"")
    sizes, targets = collected(pipeline, data, tmp_path / "answers")
    assert (sizes[1] == -1).all() and (targets[1] == -1).all() and (targets[[0, *range(2, COUNT)]] >= 0).all()


@pytest.mark.parametrize("value", [10**6, -1, "another row's block"])
def test_damaged_rows_are_refused_with_the_cure(pipeline, data, tmp_path, value):
    targets = collected(pipeline, data, tmp_path / "answers")[1]
    path = tmp_path / "answers" / ROWS_NAME
    rows = np.fromfile(path, np.int32).reshape(COUNT, -1)
    rows[3, 2] = targets[3, 1] if isinstance(value, str) else value
    rows.tofile(path)
    with pytest.raises(SacvitError, match=r"targets\.i32 is damaged: row 3 .*Remove it"):
        collected(pipeline, data, tmp_path / "answers")
