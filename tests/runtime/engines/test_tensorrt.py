"""The TensorRT stage on a pretended GPU (tests/fake_gpu), which computes with ONNX Runtime and is stricter than a real one."""

from __future__ import annotations

import gc
import json
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sacvit.bundle.errors import DeviceError, EngineError, ImageError, SacvitError, UsageError
from sacvit.bundle.records import encode_record
from sacvit.bundle.stage_record import HAND_OFF
from sacvit.runtime.chain.overlap import Overlap
from sacvit.runtime.chain.pipeline import Pipeline
from sacvit.runtime.engines.tensorrt import TensorrtStage

VERSIONS = ("8.6", "10.3", "10.16", "11.4")
IMAGE_BYTES, LOGITS_BYTES = 32 * 32 * 3, 5 * 4


@pytest.fixture
def plans(make_plans) -> Path:
    return make_plans()


@pytest.fixture
def reference(bundles) -> Pipeline:
    return Pipeline.load(bundles / "typed" / "ee.onnx", bundles / "typed" / "sac.onnx")


def load(folder: Path, **options: Any) -> Pipeline:
    return Pipeline.load(folder / "ee.plan", folder / "sac.plan", **options)


def same(found: list[Any], expected: list[Any]) -> bool:
    """The same stages, classes and blocks; probabilities up to the order of sums, which the batch size changes."""
    return all(
        (mine.stage, mine.index, mine.target_blocks) == (theirs.stage, theirs.index, theirs.target_blocks)
        and abs(mine.probability - theirs.probability) < 1e-5
        for mine, theirs in zip(found, expected, strict=True)
    )


def counted(device: Any, run: Any) -> Counter[str]:
    """The calls into CUDA that `run` makes."""
    before = Counter(device.calls)
    run()
    return Counter(device.calls) - before


def one_that(pipeline: Pipeline, pictures: np.ndarray, stage: str) -> np.ndarray:
    return next(picture for picture in pictures if pipeline(picture).stage == stage)


@pytest.mark.parametrize("version", VERSIONS)
def test_plans_answer_as_onnx_runtime_on_every_tensorrt(make_plans, reference, pictures, version):
    assert same(load(make_plans(version))(pictures), reference(pictures))


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=st.lists(st.integers(0, 23), min_size=1, max_size=9), eta=st.sampled_from([0.0, 0.4, 0.5, 0.6, 1.0]))
def test_any_batch_at_any_threshold_answers_as_onnx_runtime(make_plans, engines, pictures, chosen, eta):
    mine, theirs = load(make_plans(), threshold=eta), Pipeline.load(*engines, threshold=eta)
    assert same(mine(pictures[chosen]), theirs(pictures[chosen]))


def test_nothing_is_copied_between_the_stages(plans, fake_gpu, pictures):
    pipeline = load(plans)
    picture = one_that(pipeline, pictures, "SAC")
    fake_gpu.device.copied.clear()
    pipeline(picture)
    assert fake_gpu.device.copied["device to device"] == 0


def test_a_frame_moves_its_image_and_what_the_host_reads_and_no_more(plans, fake_gpu, pictures):
    pipeline = load(plans)
    picture = one_that(pipeline, pictures, "SAC")
    fake_gpu.device.copied.clear()
    pipeline(picture)
    assert fake_gpu.device.copied["pinned to device"] == IMAGE_BYTES + 4  # and its row
    # Confidence, logits and target_index lie in one block of four images and come in one copy; then SAC's logits.
    assert fake_gpu.device.copied["device to pinned"] < 1000 + LOGITS_BYTES


def test_ee_outputs_are_sac_inputs_in_place(plans):
    track = load(plans).track(1)
    for name in ("image", *HAND_OFF):
        assert track.ee[name].address == track.sac[name].address


def test_a_frame_allocates_nothing(plans, fake_gpu, pictures):
    pipeline = load(plans)
    pipeline(pictures[:4])
    calls = counted(fake_gpu.device, lambda: [pipeline(picture) for picture in pictures])
    before = fake_gpu.device.used()
    pipeline(pictures)
    assert fake_gpu.device.used() == before
    again = counted(fake_gpu.device, lambda: [pipeline(picture) for picture in pictures])
    assert not {"cudaMalloc", "cudaHostAlloc", "cudaStreamBeginCapture"} & set(again), calls


def test_what_a_first_pass_costs_falls_on_no_frame(plans, fake_gpu, pictures):
    pipeline = load(plans, threshold=1.0)
    pipeline.image_slots(3)[:] = pictures[:3]
    calls = counted(fake_gpu.device, lambda: pipeline.run(3))
    assert calls == {"cudaGraphLaunch": 2, "cudaStreamSynchronize": 2}


@pytest.mark.parametrize("is_collecting", [True, False])
def test_a_capture_leaves_the_garbage_collector_as_it_was(plans, is_collecting):
    (gc.enable if is_collecting else gc.disable)()
    try:
        assert load(plans).track(1).ee_binding(1).is_captured
        assert gc.isenabled() == is_collecting
    finally:
        gc.enable()


@pytest.mark.parametrize(("stage", "times"), [("EE", 1), ("SAC", 2)])
def test_a_frame_costs_a_launch_and_a_wait_for_each_stage(plans, fake_gpu, pictures, stage, times):
    pipeline = load(plans)
    picture = one_that(pipeline, pictures, stage)
    assert counted(fake_gpu.device, lambda: pipeline(picture)) == {
        "cudaGraphLaunch": times,
        "cudaStreamSynchronize": times,
    }


@pytest.mark.parametrize("settings", [{"capture_fails": True}, {}], ids=["CUDA", "TensorRT"])
def test_without_a_graph_every_pass_is_enqueued_and_that_is_said_once(
    make_plans, fake_gpu, reference, pictures, caplog, settings
):
    folder = make_plans()
    if settings:
        fake_gpu.reset(**settings)
    else:
        fake_gpu.become("10.3", "capture")
    from sacvit.runtime.engines import tensorrt as tensorrt_stage

    tensorrt_stage._warn_once.cache_clear()
    pipeline = load(folder)
    assert same(pipeline(pictures), reference(pictures))
    said = "\n".join(caplog.messages)
    assert said.count("ee.plan: no CUDA graph: ") == 1 and said.count("sac.plan: no CUDA graph: ") == 1
    assert fake_gpu.device.calls["cudaGraphLaunch"] == 0


def test_small_outputs_travel_in_one_copy(make_plans, fake_gpu, pictures):
    folder = make_plans(batches=(1,))
    stages = (TensorrtStage(folder / name, use_graphs=False) for name in ("ee.plan", "sac.plan"))
    pipeline = Pipeline(*stages, 0.0)  # every image exits
    pipeline(pictures[0])
    calls = counted(fake_gpu.device, lambda: pipeline(pictures[0]))
    assert calls == {"cudaMemcpyAsync": 2, "cudaStreamSynchronize": 1}  # the image; confidence, logits and target_index


def test_graphs_can_be_left_out(plans, fake_gpu, reference, pictures):
    stages = (TensorrtStage(plans / name, use_graphs=False) for name in ("ee.plan", "sac.plan"))
    assert same(Pipeline(*stages, 0.5)(pictures), reference(pictures))
    assert fake_gpu.device.calls["cudaStreamBeginCapture"] == 0


@pytest.mark.parametrize("version", ["8.6", "10.16"])
def test_an_integrated_gpu_copies_nothing_at_all(make_plans, fake_gpu, reference, pictures, version):
    pipeline = load(make_plans(version, integrated=True))
    assert same(pipeline(pictures), reference(pictures))
    assert sum(fake_gpu.device.copied.values()) == 0


def test_the_hand_off_of_an_integrated_gpu_stays_in_device_memory(make_plans, fake_gpu):
    track = load(make_plans(integrated=True)).track(1)
    kinds = {name: fake_gpu.device.kind_of((track.ee[name].address, 1)) for name in track.ee}
    assert kinds["target_context"] == kinds["non_target"] == "device"
    assert {kinds[name] for name in ("image", "confidence", "logits", "target_index")} == {"pinned"}


def test_both_stages_work_in_one_scratch_block_of_the_larger_size(plans, fake_gpu):
    pipeline = load(plans)
    (lane,) = pipeline._lanes
    assert lane.scratch.spec.nbytes == max(pipeline.ee.scratch_bytes, pipeline.sac.scratch_bytes) > 0


def test_three_survivors_of_four_run_as_four(plans, pictures):
    pipeline = load(plans, threshold=1.0)
    pipeline(pictures[:3])
    track = pipeline.track(3)
    assert track._running is track._sac_bindings[4]


def test_a_batch_beyond_the_plans_is_refused(plans):
    with pytest.raises(UsageError, match="takes 1 to 4 images per pass, found 5"):
        load(plans).image_slots(5)


def test_a_plan_of_one_size_has_its_shapes_in_the_network(make_plans, reference, pictures):
    pipeline = load(make_plans(batches=(1,)))
    assert pipeline.ee.batches == (1,) and same(pipeline(pictures[:5]), reference(pictures[:5]))


# Throughput


def overlapped(pipeline: Pipeline, pictures: np.ndarray, size: int) -> list[Any]:
    overlap, results = Overlap(pipeline), []
    for start in range(0, len(pictures), size):
        chunk = pictures[start : start + size]
        overlap.image_slots(len(chunk))[:] = chunk
        results += overlap.submit(len(chunk))
    return results + overlap.flush()


@pytest.mark.parametrize("size", [1, 3, 4])
def test_overlapping_stages_answer_as_one_after_the_other(plans, reference, pictures, size):
    assert same(overlapped(load(plans), pictures, size), reference(pictures))


def test_overlapping_stages_have_streams_scratch_and_buffers_of_their_own(plans):
    overlap = Overlap(load(plans))
    first, second = overlap._tracks
    assert int(first.ee_lane.stream) != int(first.sac_lane.stream)
    assert first.ee_lane.scratch.address != first.sac_lane.scratch.address
    assert not {buffer.address for buffer in first.ee.values()} & {buffer.address for buffer in second.ee.values()}


def test_sac_of_a_batch_is_under_way_while_ee_of_the_next_one_is(plans, fake_gpu, pictures):
    overlap = Overlap(load(plans, threshold=1.0))
    overlap.image_slots(1)[:] = pictures[:1]
    overlap.submit(1)
    pending = {handle: len(stream.pending) for handle, stream in fake_gpu.device.streams.items()}
    assert pending[int(overlap._tracks[0].sac_lane.stream)] > 0
    overlap.image_slots(1)[:] = pictures[1:2]
    overlap._tracks[1].start(1)
    assert all(
        fake_gpu.device.streams[int(lane.stream)].pending
        for lane in (overlap._tracks[0].sac_lane, overlap._tracks[1].ee_lane)
    )


def test_stages_that_overlap_in_one_scratch_block_would_be_caught(plans, fake_gpu, pictures):
    """The planted fault: without it the test above could not fail."""
    pipeline = load(plans, threshold=1.0)
    first, second = pipeline.ee.device.lanes([1 << 20, 1 << 20])
    pipeline.ee.device.lanes = lambda sizes: [first, replace(second, scratch=first.scratch)]
    overlap = Overlap(pipeline)
    with pytest.raises(AssertionError, match="shared scratch"):
        for picture in pictures[:3]:
            overlap.image_slots(1)[:] = picture
            overlap.submit(1)


def test_stages_on_the_cpu_do_not_overlap(reference):
    with pytest.raises(UsageError, match=r"stages overlap on a GPU, with \.plan engines"):
        Overlap(reference)


# Images that lie on the GPU


@dataclass
class OnGpu:
    __cuda_array_interface__: dict[str, Any]


def on_gpu(device: Any, images: np.ndarray, **changes: Any) -> OnGpu:
    import ctypes

    address = device.allocate(images.nbytes, "device")
    ctypes.memmove(address, images.ctypes.data, images.nbytes)
    content = {"shape": images.shape, "typestr": "|u1", "data": (address, False), "version": 3, "stream": None}
    return OnGpu(content | changes)


def test_an_image_on_the_gpu_is_copied_there_and_not_uploaded(plans, fake_gpu, pictures):
    pipeline = load(plans)
    expected = pipeline(pictures[0])
    foreign = on_gpu(fake_gpu.device, np.ascontiguousarray(pictures[0]))
    pipeline(foreign)
    fake_gpu.device.copied.clear()
    assert same([pipeline(foreign)], [expected])
    assert fake_gpu.device.copied["device to device"] == IMAGE_BYTES
    assert fake_gpu.device.copied["pinned to device"] in (0, 4)


def test_a_batch_on_the_gpu_answers_as_one_from_the_host(plans, fake_gpu, pictures):
    pipeline = load(plans)
    assert same(pipeline(on_gpu(fake_gpu.device, pictures[:7])), pipeline(pictures[:7]))


def test_a_list_of_images_on_the_gpu_is_a_batch(plans, fake_gpu, pictures):
    pipeline = load(plans)
    held = [on_gpu(fake_gpu.device, np.ascontiguousarray(picture)) for picture in pictures[:3]]
    assert same(pipeline(held), pipeline(pictures[:3]))


def test_images_from_both_sides_in_one_batch_are_refused(plans, fake_gpu, pictures):
    with pytest.raises(ImageError, match="some images of the batch lie on the GPU and some do not"):
        load(plans)([on_gpu(fake_gpu.device, np.ascontiguousarray(pictures[0])), pictures[1]])


def test_an_image_on_the_gpu_of_another_size_is_refused(plans, fake_gpu):
    with pytest.raises(ImageError, match="must be 32 x 32, found 16 x 16"):
        load(plans)(on_gpu(fake_gpu.device, np.zeros((16, 16, 3), np.uint8)))


# Refusals


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def refusal(fake_gpu: Any, folder: Path) -> str:
    """The message, after making sure that TensorRT was never asked to load anything."""
    fake_gpu.tensorrt.CALLS.clear()
    with pytest.raises(EngineError) as fault:
        load(folder)
    assert fault.value.exit_code == 4
    assert not [call for call in fake_gpu.tensorrt.CALLS if call[0] == "Runtime"]
    return str(fault.value)


def test_a_plan_of_another_tensorrt_is_refused_before_it_is_loaded(plans, fake_gpu):
    fake_gpu.become("10.16")
    assert "was built by TensorRT 10.3.0 on Fake GPU" in refusal(fake_gpu, plans)


@pytest.mark.parametrize("other", [{"name": "Orin"}, {"multiprocessors": 16}, {"compute": [9, 0]}])
def test_a_plan_of_another_gpu_is_refused_before_it_is_loaded(plans, fake_gpu, other):
    fake_gpu.reset(**other)
    assert "this machine has 10.3.0 on" in refusal(fake_gpu, plans)


def test_a_plan_without_its_sidecar_is_refused_before_it_is_loaded(plans, fake_gpu, tmp_path):
    folder = copied(plans, tmp_path / "plans")
    (folder / "ee.plan.json").unlink()
    assert "ee.plan.json is missing" in refusal(fake_gpu, folder)


def test_a_truncated_plan_is_refused_before_it_is_loaded(plans, fake_gpu, tmp_path):
    folder = copied(plans, tmp_path / "plans")
    (folder / "ee.plan").write_bytes((folder / "ee.plan").read_bytes()[:-100])
    assert "ee.plan was cut short" in refusal(fake_gpu, folder)


def changed(folder: Path, name: str, **entries: str) -> None:
    path = folder / f"{name}.json"
    content = json.loads(path.read_text())
    content["record"] |= entries
    path.write_bytes(encode_record(content))


@pytest.mark.parametrize(
    ("entry", "reason"),
    [({"checkpoint_sha256": "0" * 64}, "come from two checkpoints"), ({"graph_sha256": "0" * 64}, "from two exports")],
)
def test_plans_that_are_no_pair_are_refused(plans, fake_gpu, tmp_path, entry, reason):
    folder = copied(plans, tmp_path / "plans")
    changed(folder, "sac.plan", **entry)
    with pytest.raises(EngineError, match=reason):
        load(folder)


def test_a_plan_that_tensorrt_does_not_load_tells_its_reason(plans, tmp_path):
    from sacvit.bundle.files import sha256_of

    folder = copied(plans, tmp_path / "plans")
    path = folder / "ee.plan"
    path.write_bytes(b"x" + path.read_bytes()[1:])
    content = json.loads((folder / "ee.plan.json").read_text())
    (folder / "ee.plan.json").write_bytes(encode_record(content | {"plan_sha256": sha256_of(path)}))
    with pytest.raises(
        EngineError, match=r"TensorRT does not load it: .*magicTag mismatch.* Build it here: sacvit-build"
    ):
        load(folder)


def test_a_plan_and_an_onnx_file_are_no_pair(plans, bundles):
    with pytest.raises(EngineError, match="Give two files of one kind"):
        Pipeline.load(plans / "ee.plan", bundles / "typed" / "sac.onnx")


def test_plans_of_two_batch_sizes_are_no_pair(make_plans, plans):
    other = make_plans(batches=(1,))
    with pytest.raises(EngineError, match="the EE engine takes batches of 4, SAC of 1"):
        Pipeline.load(plans / "ee.plan", other / "sac.plan")


# Devices that fail


def test_no_gpu_is_a_missing_device(plans, fake_gpu):
    fake_gpu.reset(count=0)
    with pytest.raises(DeviceError, match=r"no GPU that CUDA can use: .*cudaErrorNoDevice") as fault:
        load(plans)
    assert fault.value.exit_code == 5


def test_out_of_memory_tells_what_was_wanted_and_what_is_free(plans, fake_gpu, pictures):
    fake_gpu.reset(memory_bytes=40_000)
    with pytest.raises(SacvitError, match=r"out of GPU memory: 0\.\d MiB wanted, 0 of 8192 MiB free.*--batch 1"):
        load(plans)(pictures[0])


def test_a_lost_gpu_is_told_at_the_call_that_noticed(plans, fake_gpu, pictures):
    pipeline = load(plans)
    pipeline(pictures[0])
    fake_gpu.device.lost = True
    with pytest.raises(DeviceError, match=r"the GPU gave up at cudaGraphLaunch: .*cudaErrorIllegalAddress"):
        pipeline(pictures[0])


def test_a_plan_that_computes_nan_is_told_and_not_gated(plans, fake_gpu, pictures):
    fake_gpu.become("10.3", "nan")
    with pytest.raises(EngineError, match="the engine computes NaN"):
        load(plans)(pictures[0])


def test_libraries_that_do_not_load_are_told_with_the_cure(plans, fake_gpu, tmp_path, monkeypatch):
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.10: cannot open shared object file')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "tensorrt")
    with pytest.raises(
        EngineError, match=r"its libraries are not: libnvinfer\.so\.10: cannot open .* python3-libnvinfer"
    ):
        load(plans)


@pytest.mark.programs
def test_the_command_runs_plans(plans, picture_folder):
    code = "import sys; from sacvit.commands.run import main; sys.exit(main())"
    engine = [str(plans / "ee.plan"), str(plans / "sac.plan")]
    for extra in ([], ["--batch", "4"], ["--batch", "2", "--overlap"]):
        done = subprocess.run(
            [sys.executable, "-c", code, "--engine", *engine, "--camera", str(picture_folder), "--json", *extra],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "TensorRT 10.3.0 on Fake GPU" in done.stderr
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert [line["frame"] for line in lines] == list(range(6))
