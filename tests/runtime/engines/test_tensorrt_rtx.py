"""Engines of TensorRT for RTX on the pretended GPU: what fits, what is refused in which words, and the cache of kernels."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sacvit.bundle.errors import EngineError
from sacvit.bundle.plan_record import read_rtx_record
from sacvit.runtime.chain.overlap import Overlap
from sacvit.runtime.chain.pipeline import Pipeline

BUNDLE = Path(__file__).parents[1] / "bundles" / "typed"
RTX_4090 = {"name": "NVIDIA GeForce RTX 4090", "compute": (8, 9)}


@pytest.fixture
def rtx_4090(fake_gpu: Any) -> Any:
    fake_gpu.become("rtx-1.7")
    fake_gpu.reset(**RTX_4090)
    return fake_gpu


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rtx") / "engines"


@pytest.fixture
def folder(rtx_4090: Any, built: Path, tmp_path: Path) -> Path:
    """A folder of this test's own with checked FP32 engines for RTX 30 and 40, for one image and for four."""
    from sacvit.export.plans.build import build
    from sacvit.export.plans.request import BuildRequest

    if not built.exists():
        rtx_4090.work_here()
        build(BUNDLE, built, BuildRequest(library="rtx", targets=("sm86", "sm89"), family="fp32", batches=(1, 4)))
        rtx_4090.reset(**RTX_4090)
    rtx_4090.tensorrt.CALLS.clear()
    rtx_4090.tensorrt.COMPILED.clear()
    for cache in built.glob("*.cache"):
        cache.unlink()
    shutil.copytree(built, tmp_path / "engines")
    return tmp_path / "engines"


def load(folder: Path) -> Pipeline:
    return Pipeline.load(folder / "ee.rtx", folder / "sac.rtx")


def refusal(folder: Path) -> str:
    with pytest.raises(EngineError) as fault:
        load(folder)
    assert fault.value.exit_code == 4
    return str(fault.value)


def test_answers_are_those_of_onnx_runtime(folder, pictures):
    reference = Pipeline.load(BUNDLE / "ee.onnx", BUNDLE / "sac.onnx", provider="cpu")
    found, expected = load(folder)(pictures, logits=True), reference(pictures, logits=True)
    assert [result.stage for result in found] == [result.stage for result in expected]
    np.testing.assert_allclose([one.logits for one in found], [one.logits for one in expected], atol=1e-5)


def test_a_folder_of_engines_is_a_pipeline(folder):
    assert "TensorRT for RTX 1.7" in repr(Pipeline.load(folder))


def test_a_pass_is_one_graph_and_stages_overlap(folder, pictures):
    pipeline = load(folder)
    pipeline(pictures[:1])
    assert pipeline.track(1).ee_binding(1).is_captured
    overlap = Overlap(pipeline)
    overlap.image_slots(4)[:] = pictures[:4]
    assert overlap.submit(4) == [] and len(overlap.flush()) == 4


def test_kernels_are_compiled_once_and_taken_by_the_next_start(rtx_4090, folder, pictures):
    load(folder)(pictures[:4])
    first = len(rtx_4090.tensorrt.COMPILED)
    load(folder)(pictures[:4])
    assert first > 0 and len(rtx_4090.tensorrt.COMPILED) == first


@pytest.mark.parametrize("content", [b"", b"no cache", json.dumps(["1.6 on another GPU", "kernel"]).encode()])
def test_a_foreign_or_damaged_cache_is_compiled_again_and_replaced(rtx_4090, folder, pictures, content):
    cache = folder / "ee.rtx.cache"
    cache.write_bytes(content)
    load(folder)(pictures[:1])
    assert rtx_4090.tensorrt.COMPILED and cache.read_bytes() not in (content, b"")


def test_a_folder_that_cannot_be_written_costs_the_cache_alone(folder, pictures, monkeypatch, caplog):
    from sacvit.runtime.engines import tensorrt_rtx

    def refuse(path: Path) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(tensorrt_rtx, "written_whole", refuse)
    with caplog.at_level(logging.INFO):
        assert load(folder)(pictures[0]).stage in ("EE", "SAC")
    assert "ee.rtx.cache cannot be written (Permission denied)" in caplog.text


def test_a_cache_that_is_too_large_is_not_read(rtx_4090, folder, pictures, monkeypatch):
    from sacvit.runtime.engines import tensorrt_rtx

    load(folder)(pictures[:1])
    before = len(rtx_4090.tensorrt.COMPILED)
    monkeypatch.setattr(tensorrt_rtx, "MAX_CACHE_BYTES", 10)
    load(folder)(pictures[:1])
    assert len(rtx_4090.tensorrt.COMPILED) == 2 * before


def test_another_gpu_is_refused_with_the_build_that_covers_both(rtx_4090, folder):
    rtx_4090.reset(name="NVIDIA GeForce RTX 5090", compute=(12, 0))
    said = refusal(folder)
    assert "built for sm86, sm89; this machine has NVIDIA GeForce RTX 5090 (sm_120" in said
    assert said.endswith("--target rtx --for sm86,sm89,sm120")


def test_another_version_is_refused_before_it_is_loaded(rtx_4090, folder):
    rtx_4090.become("rtx-1.4")
    said = refusal(folder)
    assert "built by TensorRT for RTX 1.7.1.116; this machine has 1.4.0.76" in said
    assert not [call for call in rtx_4090.tensorrt.CALLS if call[1] == "deserialize_cuda_engine"]


@pytest.mark.parametrize(
    ("diagnostic", "cure"),
    [
        ("OLD_CUDA_DRIVER", "Update the driver"),
        ("OLD_CUDA_RUNTIME", "Update CUDA"),
        ("INSUFFICIENT_GPU_MEMORY", "smaller --batch"),
        ("MALFORMED_ENGINE", "Build it again"),
        ("CUDA_ERROR", "nvidia-smi"),
    ],
)
def test_what_the_library_finds_wrong_is_said_with_its_cure(rtx_4090, folder, diagnostic, cure):
    rtx_4090.become("rtx-1.7", f"invalid {diagnostic}")
    assert cure in refusal(folder)


def test_a_refusal_without_a_reason_is_one_all_the_same(rtx_4090, folder):
    rtx_4090.become("rtx-1.7", "invalid")
    assert "is refused by TensorRT for RTX 1.7" in refusal(folder)


def test_an_engine_that_was_built_for_better_is_warned_about(rtx_4090, folder, caplog):
    rtx_4090.become("rtx-1.7", "suboptimal")
    load(folder)
    assert "slower than one that is built for it" in caplog.text


def test_an_engine_that_was_checked_here_is_loaded_without_a_word(folder, caplog):
    load(folder)
    assert [line for line in caplog.records if line.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(("gpu", "said"), [(None, "never checked on a GPU"), ("Another", "checked on Another")])
def test_an_engine_that_was_not_checked_here_is_warned_about_with_the_command(folder, caplog, gpu, said):
    record = read_rtx_record(folder / "ee.rtx")
    replace(record, verification={} if gpu is None else {"gpu": gpu}).write(folder / "ee.rtx")
    load(folder)
    (line,) = {line.getMessage() for line in caplog.records if line.levelno >= logging.WARNING}
    assert f"ee.rtx was {said}" in line and line.endswith(f"sacvit-build {folder} --target rtx")


def test_a_truncated_engine_is_refused_before_it_is_loaded(rtx_4090, folder):
    path = folder / "ee.rtx"
    path.write_bytes(path.read_bytes()[:-1])
    assert "was cut short" in refusal(folder)
    assert not rtx_4090.tensorrt.CALLS


def test_an_engine_without_its_record_is_refused_with_the_command(folder):
    (folder / "ee.rtx.json").unlink()
    assert refusal(folder).endswith(f"sacvit-build {folder} --target rtx")


def test_a_provider_is_for_onnx_files(folder):
    with pytest.raises(EngineError, match=r"--provider cuda is for \.onnx files"):
        Pipeline.load(folder / "ee.rtx", folder / "sac.rtx", provider="cuda")


def test_without_the_packages_the_module_is_named(fake_gpu, folder):
    fake_gpu.become("10.3")
    with pytest.raises(ModuleNotFoundError, match="tensorrt_rtx"):
        load(folder)


def test_a_cache_that_the_library_does_not_take_is_an_error(rtx_4090, folder, pictures):
    rtx_4090.become("rtx-1.7", "cache")
    with pytest.raises(EngineError, match="its cache of kernels cannot be used"):
        load(folder)(pictures[0])
