"""The chain, its paths, the plain ViT, a pass in its parts and layers: on real engines."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sacvit.bundle.errors import EngineError
from sacvit.bundle.goldens import read_goldens
from sacvit.profiles.timing.contenders import ALWAYS, NEVER, STAGES, Chain, PlainViT, Record, run_for
from sacvit.profiles.timing.inputs import load_images
from sacvit.profiles.timing.layers import layer_rows, time_layers
from sacvit.profiles.timing.pass_parts import time_parts
from sacvit.profiles.timing.plain import Plain
from sacvit.profiles.timing.trtexec import summary_lines, write_times
from sacvit.runtime.chain.gate import Gate
from sacvit.runtime.chain.pipeline import Pipeline


@pytest.fixture
def pipeline(plain_bundle):
    return Pipeline.load(plain_bundle / "ee.onnx", plain_bundle / "sac.onnx")


@pytest.fixture
def images(plain_bundle, pipeline):
    return load_images(None, plain_bundle, pipeline.preprocessing)


def test_the_chain_takes_the_images_round_and_round_and_decides_as_the_pipeline_does(pipeline, images, plain_bundle):
    goldens = read_goldens(plain_bundle)
    chain = Chain("eta", pipeline, pipeline.gate, images, batch=1)
    record = run_for(chain, 0.0, passes=len(goldens.images) + 2)
    expected = [int(not pipeline(image).exits_early) for image in goldens.images]
    assert record.survivors == [*expected, *expected[:2]] and 0 < sum(expected) < len(expected)


def test_always_exit_sends_nobody_on(pipeline, images):
    assert set(run_for(Chain(ALWAYS, pipeline, Gate(0.0), images, 1), 0.0, passes=20).survivors) == {0}


def test_never_exit_sends_on_even_those_that_are_entirely_sure(pipeline, images):
    assert set(run_for(Chain(NEVER, pipeline, Gate(1.0), images, 4), 0.0, passes=8).survivors) == {4}


def test_only_passes_that_went_on_have_sac_s_time(pipeline, images):
    arrays = run_for(Chain("eta", pipeline, pipeline.gate, images, 1), 0.0, passes=30).arrays()
    assert ((arrays["SAC"] > 0) == (arrays["survivors"] > 0)).all()


def test_the_stages_of_a_pass_follow_each_other_without_a_gap(pipeline, images):
    """What lies between two passes is the loop itself: microseconds."""
    arrays = run_for(Chain("eta", pipeline, pipeline.gate, images, 1), 0.0, passes=200).arrays()
    between = np.diff(arrays["begin_s"]) * 1e3 - arrays["total"][:-1]
    assert (arrays["total"] == sum(arrays[stage] for stage in STAGES)).all()
    assert (between >= -1e-6).all() and np.median(between) < 0.1 * np.median(arrays["total"])


def test_the_plain_vit_answers_for_every_image_of_its_batch(plain_bundle, images):
    plain = Plain(plain_bundle / "plain.onnx", batch=4)
    record = Record()
    PlainViT(plain, images, 4).run_pass(record)
    assert record.survivors == [0] and np.ptp(plain.logits[:4], axis=0).max() > 0


def test_another_stage_is_no_plain_vit(plain_bundle):
    with pytest.raises(EngineError, match=r"ee\.onnx is the EE stage; --plain wants a plain ViT"):
        Plain(plain_bundle / "ee.onnx", 1)


def test_a_pass_in_parts_on_a_cpu_is_all_compute(pipeline, images):
    timed = time_parts(pipeline, pipeline.gate, images, 1)
    passes, wall_s = timed["EE"]
    assert len(passes) == len(timed["SAC"][0]) and all(one.h2d[0] == one.h2d[1] for one in passes)
    assert [line.partition(":")[0] for line in summary_lines(passes, wall_s)] == [
        "Throughput", "Latency", "Total Host Walltime"
    ]  # fmt: skip


def test_exported_times_name_stage_path_confidence_and_frame(pipeline, images, plain_bundle, tmp_path):
    goldens = read_goldens(plain_bundle)
    timed = time_parts(pipeline, pipeline.gate, images, 1)
    write_times([one for passes, _ in timed.values() for one in passes], tmp_path / "times.json")
    rows = json.loads((tmp_path / "times.json").read_text())
    for row in rows:
        assert row["conf"] == pytest.approx(float(goldens.confidence[row["frame"]]), abs=1e-3)
        assert row["path"] == ("exit" if row["conf"] >= pipeline.threshold else "full")
    assert {row["stage"] for row in rows} == {"EE", "SAC"} and {"startComputeMs", "latencyMs"} <= set(rows[0])


def test_layers_of_an_onnx_engine_are_its_nodes(pipeline, images):
    times = time_layers(pipeline, images, 1)
    assert set(times) == {"EE", "SAC"}
    assert any("MatMul" in name or "Gemm" in name for name in times["EE"])
    first, *rows = json.loads(json.dumps(layer_rows(times["EE"])))
    assert first == {"count": 20} and sum(row["percentage"] for row in rows) == pytest.approx(100, abs=0.1)
    assert set(rows[0]) == {"name", "timeMs", "averageMs", "medianMs", "percentage"}


def test_no_layers_are_no_rows():
    assert layer_rows({}) == [{"count": 0}]


def test_on_a_gpu_a_pass_is_timed_part_by_part_and_layer_by_layer(make_plans):
    folder = make_plans("10.16")
    pipeline = Pipeline.load(folder / "ee.plan", folder / "sac.plan")
    images = load_images(None, folder, pipeline.preprocessing)
    passes, wall_s = time_parts(pipeline, Gate(0.5), images, 4)["SAC"]
    assert all(one.h2d[0] <= one.h2d[1] == one.compute[0] <= one.compute[1] == one.d2h[0] for one in passes)
    assert any(line.startswith("GPU Compute Time") for line in summary_lines(passes, wall_s))
    assert set(time_layers(pipeline, images, 4)["EE"]) == {"attention", "mlp", "head"}


def test_without_a_source_and_without_stored_images_noise_is_called_noise(pipeline, tmp_path):
    assert "noise" in load_images(None, tmp_path, pipeline.preprocessing).name


def test_frames_of_a_source_are_preprocessed_and_those_of_a_bundle_are_not(pipeline, images, tmp_path):
    import cv2

    picture = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    given = load_images(str(tmp_path), tmp_path, pipeline.preprocessing)
    side = pipeline.preprocessing.image_size
    slot, expected = np.zeros((2, side, side, 3), np.uint8)
    given.prepare(0, slot)
    pipeline.preprocessing.apply(picture, expected)
    assert (slot == expected).all() and "1 frames" in given.name and "120 x 90" in given.name
    images.prepare(0, slot)
    assert (slot == images.frames[0]).all()
