"""On a real GPU with TensorRT: make gpu-test. Needs TensorRT, cuda-python, NumPy, tqdm and pytest; no torch, no onnx.

The bundle is the one of tests/runtime, its FP32 answers those of ONNX Runtime on a CPU, stored by the export.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorrt", reason="no TensorRT here")

from sacvit.bundle.goldens import Goldens, read_goldens
from sacvit.bundle.manifest import read_manifest
from sacvit.export.plans.build import Plans, build
from sacvit.export.plans.request import BuildRequest
from sacvit.runtime.chain.overlap import Overlap
from sacvit.runtime.chain.pipeline import Pipeline
from sacvit.runtime.chain.result import Result
from sacvit.runtime.engines.tensorrt import TensorrtStage

pytestmark = pytest.mark.gpu
BUNDLE = Path(__file__).parents[1] / "runtime" / "bundles" / "typed"
BATCHES = (1, 8)
# What the issue of this project asks of FP16: a mean logit error of 1e-2, and 99.5 % equal decisions.
LOGIT_ERROR = {"fp32": 1e-3, "fp16": 1e-2, "int8": 0.25}


@pytest.fixture(scope="module", params=["fp32", "fp16", "int8"])
def precision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory, precision: str) -> Plans:
    return build(
        BUNDLE, tmp_path_factory.mktemp(precision), BuildRequest(family=precision, batches=BATCHES, report=print)
    )


@pytest.fixture(scope="module")
def pipeline(plans: Plans) -> Pipeline:
    return Pipeline.load(plans.ee, plans.sac)


@pytest.fixture(scope="module")
def goldens() -> Goldens:
    return read_goldens(BUNDLE)


def answers(results: list[Result]) -> list[tuple[str, int, tuple[int, ...]]]:
    return [(result.stage, result.index, result.target_blocks) for result in results]


def test_the_first_rung_of_the_ladder_holds(plans, precision):
    for outcome in plans.outcomes:
        assert outcome.rung.precision.startswith(precision) and outcome.rung.attention == "as it comes"
        assert [entry["rung"] for entry in outcome.tried if not entry.get("holds")] == []


def test_logits_are_those_of_onnx_runtime(plans, precision):
    assert max(outcome.logit_error for outcome in plans.outcomes) <= LOGIT_ERROR[precision]


def test_decisions_are_those_of_onnx_runtime(pipeline, goldens, precision):
    results = pipeline(goldens.images)
    exits = goldens.confidence >= np.float32(read_manifest(BUNDLE).threshold.value)
    top1 = np.where(exits, goldens.ee_logits.argmax(1), goldens.sac_logits.argmax(1))
    same = [result.index == index for result, index in zip(results, top1, strict=True)]
    assert np.mean(same) >= (0.95 if precision == "int8" else 0.995)


def test_every_pass_is_a_captured_graph(pipeline, goldens):
    pipeline(goldens.images[:8])
    track = pipeline.track(8)
    assert track._ee_bindings and all(binding.graph is not None for binding in track._ee_bindings.values())
    assert track._sac_bindings and all(binding.graph is not None for binding in track._sac_bindings.values())


def test_graphs_answer_as_plain_enqueue(plans, pipeline, goldens):
    stages = (TensorrtStage(path, use_graphs=False) for path in (plans.ee, plans.sac))
    assert answers(Pipeline(*stages, pipeline.threshold)(goldens.images)) == answers(pipeline(goldens.images))


def test_one_image_at_a_time_answers_as_batches(pipeline, goldens):
    alone = [pipeline(image) for image in goldens.images]
    same = [mine.index == theirs.index for mine, theirs in zip(alone, pipeline(goldens.images), strict=True)]
    assert np.mean(same) >= 0.97  # other kernels, other sums: a tie may fall the other way


def test_overlapping_stages_answer_as_the_pipeline(pipeline, goldens):
    overlap, found = Overlap(pipeline), []
    for start in range(0, 32, 8):
        overlap.image_slots(8)[:] = goldens.images[start : start + 8]
        found += overlap.submit(8)
    found += overlap.flush()
    assert answers(found) == answers(pipeline(goldens.images[:32]))


def test_the_same_frames_give_the_same_bits(pipeline, goldens):
    first, second = (pipeline(goldens.images[:8]) for _ in range(2))
    assert [result.probability for result in first] == [result.probability for result in second]


def test_an_image_on_the_gpu_is_classified_where_it_is(pipeline, goldens):
    from sacvit.runtime.engines.buffers import TensorSpec
    from sacvit.runtime.engines.cuda import open_cuda

    cuda, image = open_cuda(), goldens.images[0]
    held = cuda.allocate({"image": TensorSpec(np.uint8, image.shape)}, "upload")["image"]
    assert held.host is not None
    held.host[:] = image
    lane = cuda.open_lane()
    if held.mirrored:
        cuda.copy(held.address, held.host_address, held.spec.nbytes, lane)
    cuda.synchronize(lane)

    @dataclasses.dataclass
    class OnGpu:
        __cuda_array_interface__: dict[str, object]

    foreign = OnGpu(
        {"shape": image.shape, "typestr": "|u1", "data": (held.address, False), "version": 3, "stream": None}
    )
    assert answers([pipeline(foreign)]) == answers([pipeline(image)])


def test_the_command_builds_both_plans(tmp_path):
    code = "import sys; from sacvit.commands.build import main; sys.exit(main())"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            code,
            str(BUNDLE),
            "--target",
            "tensorrt",
            "--out",
            str(tmp_path / "plans"),
            "--precision",
            "fp16",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "plans").iterdir()} == {
        "ee.plan", "ee.plan.json", "sac.plan", "sac.plan.json"
    }  # fmt: skip
