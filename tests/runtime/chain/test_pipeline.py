from __future__ import annotations

import gc
import json
import shutil
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sacvit.bundle.errors import EngineError, ImageError, UsageError
from sacvit.bundle.manifest import MANIFEST_NAME
from sacvit.bundle.records import encode_record
from sacvit.bundle.stage_record import HAND_OFF
from sacvit.runtime.chain import pipeline as pipeline_module
from sacvit.runtime.chain.gate import Gate
from sacvit.runtime.chain.pipeline import MOST_TRACKS, Pipeline
from sacvit.runtime.engines.options import EngineOptions
from sacvit.runtime.engines.pairs import load_pair

# ONNX Runtime picks its kernels by size: a batch of one and a batch of ten sum in another order.
LIMIT = 1e-5


@pytest.fixture(scope="module")
def pipeline(bundles) -> Pipeline:
    return Pipeline.load(bundles / "bundle" / "ee.onnx", bundles / "bundle" / "sac.onnx")


@pytest.fixture(scope="module")
def fixed(bundles) -> Pipeline:
    return Pipeline.load(bundles / "fixed" / "ee.onnx", bundles / "fixed" / "sac.onnx")


def addresses(pipeline: Pipeline, count: int) -> dict[str, int]:
    track = pipeline.track(count)
    named = {f"ee {name}": buffer for name, buffer in track.ee.items()}
    named |= {f"sac {name}": buffer for name, buffer in track.sac.items()}
    return {name: buffer.address for name, buffer in named.items()}


def test_the_stored_threshold_is_used(pipeline):
    assert pipeline.threshold == 0.5


def test_a_given_threshold_wins(engines):
    assert Pipeline.load(*engines, threshold=0.25).threshold == 0.25


def test_one_image_gives_one_result(pipeline, pictures):
    result = pipeline(pictures[0])
    assert (result.stage, result.label, result.index) == ("EE", "ant", 0)
    assert result.probability == result.confidence
    assert result.sac_ms is None and result.ee_ms > 0
    assert len(set(result.target_blocks)) == 8


def test_buffers_are_kept_for_the_sizes_that_were_used_last_alone(engines, pictures):
    pipeline = Pipeline.load(*engines)
    first = pipeline.track(1)
    of_two = weakref.ref(pipeline.track(2))
    for size in range(3, 3 + MOST_TRACKS - 2):
        pipeline.track(size)
        assert pipeline.track(1) is first  # used again and again, and so kept
    assert of_two() is not None
    pipeline(list(pictures[:20]))
    gc.collect()
    assert of_two() is None and pipeline.track(1) is first


def test_any_number_of_batch_sizes_gives_the_answers_of_single_images(engines, pictures):
    pipeline = Pipeline.load(*engines)
    expected = [pipeline(picture).index for picture in pictures]
    for size in (*range(1, 10), *range(9, 0, -1)):
        assert [result.index for result in pipeline(list(pictures[:size]))] == expected[:size]


def test_a_call_looks_up_its_buffers_and_its_survivors_once(engines, pictures, monkeypatch):
    pipeline, seen = Pipeline.load(*engines), []
    for owner, name in ((Pipeline, "track"), (pipeline_module, "_places")):
        whole = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *given, whole=whole, name=name: seen.append(name) or whole(*given))
    pipeline(pictures[0])
    assert sorted(seen) == ["_places", "track"]


def test_a_survivor_is_answered_by_sac(pipeline, pictures):
    result = pipeline(pictures[1])
    assert result.stage == "SAC" and not result.exits_early
    assert result.confidence < 0.5
    assert result.sac_ms > 0


def test_the_hand_off_has_the_names_that_the_record_gives_it(engines, pipeline, pictures, tmp_path):
    for path in map(Path, engines):
        content = path.read_bytes()
        assert b"target_context" in content
        (tmp_path / path.name).write_bytes(content.replace(b"target_context", b"target_kontext"))  # graph and record
    renamed = Pipeline.load(tmp_path / "ee.onnx", tmp_path / "sac.onnx", threshold=pipeline.threshold)
    assert [result.probability for result in renamed(pictures)] == [result.probability for result in pipeline(pictures)]


def test_a_batch_keeps_the_order(pipeline, pictures):
    stages = [result.stage for result in pipeline(pictures)]
    alone = [pipeline(picture).stage for picture in pictures]
    assert stages == alone
    assert set(stages) == {"EE", "SAC"}


@settings(max_examples=12)
@given(st.lists(st.integers(0, 23), min_size=1, max_size=12), st.sampled_from([0.0, 0.4, 0.6, 1.0]))
def test_a_batch_gives_what_single_images_give(engines, pictures, chosen, threshold):
    chain = Pipeline.load(*engines, threshold=threshold)
    together = chain(pictures[chosen])
    for index, result in zip(chosen, together, strict=True):
        alone = chain(pictures[index])
        assert (alone.stage, alone.index, alone.target_blocks) == (result.stage, result.index, result.target_blocks)
        assert alone.probability == pytest.approx(result.probability, abs=LIMIT)


@pytest.mark.parametrize("count", [1, 3, 4, 11])
def test_a_fixed_batch_gives_what_a_symbolic_one_gives(fixed, pipeline, pictures, count):
    for mine, theirs in zip(fixed(pictures[:count]), pipeline(pictures[:count]), strict=True):
        assert (mine.stage, mine.index) == (theirs.stage, theirs.index)
        assert mine.probability == pytest.approx(theirs.probability, abs=LIMIT)


def test_an_int8_pair_answers_as_the_fp32_pair(int8_engines, pipeline, pictures):
    both = zip(Pipeline.load(*int8_engines)(pictures), pipeline(pictures), strict=True)
    same = [(mine.stage, mine.index) == (theirs.stage, theirs.index) for mine, theirs in both]
    assert sum(same) >= 21  # of 24: the network is untrained, and some of its answers are near the next


def test_an_empty_batch_gives_nothing(pipeline):
    assert pipeline([]) == []


def test_more_images_than_a_chunk_are_taken_in_turns(pipeline, pictures):
    many = np.concatenate([pictures] * 3)  # 72: a chunk is 64
    assert [result.index for result in pipeline(many)] == [result.index for result in pipeline(pictures)] * 3


def test_ee_outputs_are_sac_inputs_in_place(pipeline):
    place = addresses(pipeline, 3)
    for name in ("image", *HAND_OFF):
        assert place[f"ee {name}"] == place[f"sac {name}"]


def test_buffers_stay_where_they_are(pipeline, pictures):
    pipeline(pictures[:3])
    before = addresses(pipeline, 3)
    for threshold in (0.0, 0.5, 1.0):
        pipeline.gate.__init__(threshold)
        pipeline(pictures[3:6])
        pipeline(pictures[0])
        pipeline(pictures[:9])
    pipeline.gate.__init__(0.5)
    assert addresses(pipeline, 3) == before


def test_the_sessions_read_and_write_the_bound_addresses(pipeline, pictures):
    """Not a copy: a hand-off buffer changed between the stages changes SAC's answer."""
    track = pipeline.track(2)
    track.images[:] = pictures[:2]
    track.ee_binding(2).start()
    track.row[:] = [0, 1]
    passes = track.sac_binding(2)
    passes.start()
    untouched = track.sac_logits.copy()
    track.ee["target_context"].host[:] = 0
    passes.start()
    assert not np.allclose(untouched, track.sac_logits, atol=1e-3)


def test_a_frame_leaves_no_array_behind(pipeline, pictures):
    """Counted where NumPy counts its memory: ONNX Runtime's Python wrapper keeps some bytes of its own."""
    import tracemalloc

    pipeline.image_slots(1)[:] = pictures[1]
    pipeline.run(1)
    tracemalloc.start()
    try:
        for _ in range(5):
            pipeline.run(1)
        arrays = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
        assert list(tracemalloc.take_snapshot().filter_traces([arrays]).traces) == []
    finally:
        tracemalloc.stop()


def test_an_image_of_another_size_goes_through_the_rule(pipeline, pictures):
    import cv2

    large = cv2.resize(pictures[0], (80, 50))
    expected = pipeline(pipeline.preprocessing.apply(large, bgr=False))
    assert pipeline(large).probability == expected.probability


def test_a_wrong_image_of_several_is_named_by_its_place(pipeline, pictures):
    with pytest.raises(ImageError, match=r"image 1: .* found float64"):
        pipeline([pictures[0], np.zeros((32, 32))])


def test_two_checkpoints_are_no_pair(bundles):
    with pytest.raises(EngineError, match="come from two checkpoints") as fault:
        Pipeline.load(bundles / "bundle" / "ee.onnx", bundles / "stranger" / "sac.onnx")
    assert fault.value.exit_code == 4


def test_two_exports_of_one_checkpoint_are_no_pair(bundles):
    with pytest.raises(EngineError, match="two exports with different options"):
        Pipeline.load(bundles / "bundle" / "ee.onnx", bundles / "cousin" / "sac.onnx")


def test_the_two_files_in_the_wrong_order_are_named(bundles):
    with pytest.raises(EngineError, match=r"sac\.onnx is the SAC stage, expected EE: the order is"):
        Pipeline.load(bundles / "bundle" / "sac.onnx", bundles / "bundle" / "ee.onnx")


def test_a_wrong_threshold_is_told_before_anything_is_loaded():
    with pytest.raises(UsageError, match="must lie in"):
        Pipeline.load("missing.onnx", "missing.onnx", threshold=1.5)


def test_a_fixed_engine_takes_no_more_than_its_batch(fixed):
    with pytest.raises(UsageError, match="takes 1 to 4 images per pass, found 5"):
        fixed.image_slots(5)


# What sacvit-tune stored


@pytest.fixture
def tuned(bundles, tmp_path):
    """A function that copies the bundle with an entry in its manifest, and returns the two engines."""

    def store(entry, **changes):
        folder = shutil.copytree(bundles / "bundle", tmp_path / "bundle")
        manifest = json.loads((folder / MANIFEST_NAME).read_text()) | {"tuned": {"fp32": entry}} | changes
        (folder / MANIFEST_NAME).write_bytes(encode_record(manifest))
        return folder / "ee.onnx", folder / "sac.onnx"

    return store


ENTRY = {"threshold": 0.33, "temperature": 2.5, "point": "balanced"}


def test_a_tuned_gate_goes_before_the_exported_one(tuned):
    chain = Pipeline.load(*tuned(ENTRY))
    assert (chain.threshold, chain.gate.temperature, chain.tuned.point) == (0.33, 2.5, "balanced")


def test_a_given_threshold_keeps_the_tuned_temperature(tuned):
    chain = Pipeline.load(*tuned(ENTRY), threshold=0.25)
    assert (chain.threshold, chain.gate.temperature) == (0.25, 2.5)


def test_a_tuned_gate_of_another_precision_is_not_used(tuned):
    chain = Pipeline.load(*tuned(None, tuned={"int8": ENTRY}))
    assert (chain.threshold, chain.gate.temperature, chain.tuned) == (0.5, 1.0, None)


def test_a_manifest_of_another_export_is_ignored(tuned):
    chain = Pipeline.load(*tuned(ENTRY, graphs={"EE": "0" * 64, "SAC": "0" * 64}))
    assert (chain.threshold, chain.gate.temperature, chain.tuned) == (0.5, 1.0, None)


def test_engines_without_a_manifest_run_as_they_were_exported(tuned):
    ee, sac = tuned(ENTRY)
    (ee.parent / MANIFEST_NAME).unlink()
    assert Pipeline.load(ee, sac).threshold == 0.5


def test_a_damaged_tuned_gate_is_told(tuned):
    with pytest.raises(EngineError, match=r"sacvit\.json is damaged: .*tuned.*threshold"):
        Pipeline.load(*tuned(ENTRY | {"threshold": 7}))


def test_confidences_are_those_of_the_tuned_temperature(tuned, pipeline, pictures):
    chain = Pipeline.load(*tuned(ENTRY))
    chain(pictures[:8])
    logits = chain.track(8).logits[:8].astype(np.float64) / 2.5
    expected = np.exp(logits).max(1) / np.exp(logits).sum(1)
    found = [result.confidence for result in chain(pictures[:8])]
    np.testing.assert_allclose(found, expected, atol=1e-6)  # FP32 sums of 5 terms


def test_the_gate_compares_the_calibrated_confidence(tuned, pictures):
    results = Pipeline.load(*tuned(ENTRY))(pictures)
    assert [result.exits_early for result in results] == [result.confidence >= np.float32(0.33) for result in results]


def test_some_leave_and_some_go_on_at_the_tuned_gate(tuned, pictures):
    assert {result.stage for result in Pipeline.load(*tuned(ENTRY))(pictures)} == {"EE", "SAC"}


def test_the_threshold_of_a_pipeline_may_be_set(engines, pictures):
    pipeline = Pipeline.load(*engines)
    pipeline.threshold = 1.0
    assert {result.stage for result in pipeline(pictures)} == {"SAC"}
    pipeline.threshold = 0.0
    assert {result.stage for result in pipeline(pictures)} == {"EE"}


def test_a_new_gate_keeps_the_temperature_that_was_tuned(engines):
    pipeline = Pipeline(*load_pair(*map(Path, engines), EngineOptions()), threshold=0.5, temperature=2.5)
    pipeline.gate = Gate(0.9)
    assert (pipeline.threshold, pipeline.temperature) == (0.9, 2.5)


def test_a_gate_with_a_temperature_of_its_own_keeps_it(engines):
    pipeline = Pipeline(*load_pair(*map(Path, engines), EngineOptions()), threshold=0.5, temperature=2.5)
    pipeline.gate = Gate(0.9, 1.0)
    assert pipeline.temperature == 1.0
