"""Questions about TensorRT for RTX: the beliefs of tests/fake_gpu/gpu_beliefs.py, asked of a real GPU of its targets."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sacvit.bundle.goldens import read_goldens
from sacvit.bundle.plan_record import read_rtx_record, target_of
from sacvit.export.plans.build import build
from sacvit.export.plans.request import BuildRequest
from sacvit.runtime.chain.pipeline import Pipeline
from sacvit.runtime.engines.cuda import open_cuda
from sacvit.runtime.engines.tensorrt_log import load_tensorrt_rtx, open_journal
from sacvit.runtime.engines.tensorrt_rtx import TensorrtRtxStage

pytestmark = pytest.mark.gpu
BUNDLE = Path(__file__).parents[1] / "runtime" / "bundles" / "typed"
CLOSE = 1e-2  # mean logit error, as of FP16 plans


@pytest.fixture
def trt() -> Any:
    try:
        return load_tensorrt_rtx()
    except ModuleNotFoundError:
        pytest.skip("no TensorRT for RTX here")


@pytest.fixture(scope="session")
def rtx_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rtx") / "engines"


@pytest.fixture
def folder(trt: Any, rtx_store: Path) -> Path:
    """A folder with FP16 engines for this GPU and two others, for one image and for four, built once."""
    if not rtx_store.exists():
        targets = tuple(dict.fromkeys([target_of(open_cuda().gpu), "sm86", "sm89"]))
        build(BUNDLE, rtx_store, BuildRequest(library="rtx", targets=targets, family="fp16", batches=(1, 4)))
    return rtx_store


def logits_of(stage: TensorrtRtxStage, sac: TensorrtRtxStage) -> np.ndarray:
    """EE's logits of the first four reference images, in one pass."""
    pipeline = Pipeline(stage, sac, 0.0)
    results = pipeline(read_goldens(BUNDLE).images[:4], logits=True)
    return np.stack([result.logits for result in results])


def is_right(logits: np.ndarray) -> bool:
    return bool(np.abs(logits - read_goldens(BUNDLE).ee_logits[:4]).mean() < CLOSE)


def test_an_engine_for_several_gpus_is_built_and_runs_on_this_one(folder):
    record = read_rtx_record(folder / "ee.rtx")
    assert len(record.targets) > 1 and record.verification["gpu"] == str(open_cuda().gpu)


def test_the_library_says_of_a_file_whether_it_fits(trt, folder):
    runtime = trt.Runtime(open_journal(trt))
    content = (folder / "ee.rtx").read_bytes()
    validity, flags = runtime.get_engine_validity(content)
    assert validity != trt.EngineValidity.INVALID and flags == 0
    validity, flags = runtime.get_engine_validity(b"no engine" * 1000)
    assert validity == trt.EngineValidity.INVALID
    assert flags & int(trt.EngineInvalidityDiagnostics.MALFORMED_ENGINE)


def test_a_pass_is_captured_and_answers_as_onnx_runtime(folder):
    ee, sac = (TensorrtRtxStage(folder / name) for name in ("ee.rtx", "sac.rtx"))
    assert is_right(logits_of(ee, sac))
    pipeline = Pipeline(ee, sac, 0.0)
    pipeline.image_slots(4)
    assert pipeline.track(4).ee_binding(4).is_captured


def test_kernels_are_kept_and_taken_by_the_next_start(trt, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    ee, sac = (TensorrtRtxStage(tmp_path / "copy" / name) for name in ("ee.rtx", "sac.rtx"))
    logits_of(ee, sac)
    kept = ee.cache_path.read_bytes()
    cache = ee._engine.create_runtime_config().create_runtime_cache()
    assert cache.deserialize(kept) and not cache.deserialize(b"no cache")


@pytest.mark.forbidden
def test_a_timing_cache_is_taken_and_has_no_use(trt):
    journal = open_journal(trt)
    builder = trt.Builder(journal)
    network = builder.create_network(0)
    assert trt.OnnxParser(network, journal).parse((BUNDLE / "ee.onnx").read_bytes())
    network.get_input(0).shape = (1, 32, 32, 3)
    config = builder.create_builder_config()
    config.set_compute_capability(getattr(trt.ComputeCapability, target_of(open_cuda().gpu).upper()), 0)
    config.set_timing_cache(config.create_timing_cache(b""), False)
    assert builder.build_serialized_network(network, config) is not None


class Other(TensorrtRtxStage):
    """With a setting of the runtime that we do not use."""

    settings: tuple[str, str, str]

    def _new_context(self) -> Any:
        attribute, enum, member = self.settings
        config = self._engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(self.trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        config.cuda_graph_strategy = self.trt.CudaGraphStrategy.DISABLED
        config.dynamic_shapes_kernel_specialization_strategy = self.trt.DynamicShapesKernelSpecializationStrategy.EAGER
        setattr(config, attribute, getattr(getattr(self.trt, enum), member))
        self._cache = self._cache or config.create_runtime_cache()
        assert config.set_runtime_cache(self._cache)
        return self._engine.create_execution_context(config)


class Lazy(Other):
    settings = "dynamic_shapes_kernel_specialization_strategy", "DynamicShapesKernelSpecializationStrategy", "LAZY"


class Graph(Other):
    settings = "cuda_graph_strategy", "CudaGraphStrategy", "WHOLE_GRAPH_CAPTURE"


@pytest.mark.forbidden
def test_a_pass_captured_with_the_kernels_of_any_shape_answers(folder):
    assert is_right(logits_of(Lazy(folder / "ee.rtx"), TensorrtRtxStage(folder / "sac.rtx")))


@pytest.mark.forbidden
def test_a_pass_that_makes_its_own_graph_is_captured_in_ours(folder):
    assert is_right(logits_of(Graph(folder / "ee.rtx"), TensorrtRtxStage(folder / "sac.rtx")))
