"""What the stand-in for a GPU forbids although a twin of tests/gpu cannot ask for it: each planted, and seen to be stopped."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def gpu(fake_gpu: Any) -> Iterator[ModuleType]:
    """tests/fixtures/gpu_pass.py on the stand-in."""
    import gpu_pass

    yield gpu_pass
    del sys.modules["gpu_pass"]  # it holds the stand-in of this test


@pytest.fixture
def one(gpu: Any, tmp_path: Any) -> Any:
    """A pass that has not run, in a context without scratch memory."""
    loaded = gpu.Loaded(gpu.build(tmp_path, (1,)))
    return gpu.Pass(loaded, context=loaded.context_without_memory())


def forbidden(name: str) -> Any:
    from gpu_beliefs import Forbidden

    return pytest.raises(Forbidden, match=f"^{name}: ")


def test_a_first_pass_is_not_captured(gpu, tmp_path):
    one = gpu.Pass(gpu.Loaded(gpu.build(tmp_path, (1,))))
    with forbidden("first pass"):
        gpu.capture(one.lane.stream, one.enqueue)


def test_a_context_does_not_run_before_its_profile_was_chosen(gpu, tmp_path):
    one = gpu.Pass(gpu.Loaded(gpu.build(tmp_path, (1, 4))))
    with forbidden("first profile"):
        one.enqueue()


def test_nothing_is_built_without_a_limit_of_the_workspace(gpu):
    journal = gpu.open_journal(gpu.trt)
    builder = gpu.trt.Builder(journal)
    network = builder.create_network(0)
    assert gpu.trt.OnnxParser(network, journal).parse((gpu.BUNDLE / "ee.onnx").read_bytes())
    network.get_input(0).shape = (1, 32, 32, 3)
    with forbidden("workspace"):
        builder.build_serialized_network(network, builder.create_builder_config())


@pytest.mark.parametrize(("askew", "short"), [(128, 0), (0, 1)])
def test_scratch_that_is_askew_or_too_small_is_stopped(gpu, one, askew, short):
    block = int(gpu.checked(gpu.rt.cudaMalloc(one.loaded.scratch_bytes + 256)))
    with forbidden("scratch block"):
        one.give_scratch(block + askew, one.loaded.scratch_bytes - short)


def test_work_over_freed_memory_is_stopped(gpu):
    stream, block = gpu.open_stream(), int(gpu.checked(gpu.rt.cudaMalloc(256)))
    gpu.copy(block, gpu.pinned(256), 256, stream)
    gpu.checked(gpu.rt.cudaFree(block))
    with forbidden("freed memory"):
        gpu.rt.cudaStreamSynchronize(stream)


def test_a_stream_that_nobody_opened_is_stopped(gpu):
    with forbidden("stream handles"):
        gpu.rt.cudaStreamSynchronize(5)


def test_a_copy_from_another_context_is_stopped(gpu):
    from cuda.bindings import driver

    driver.cuCtxCreate(0, 0)
    theirs = int(gpu.checked(driver.cuMemAlloc(256)))
    driver.cuCtxPopCurrent()
    with forbidden("context of memory"):
        gpu.copy(gpu.pinned(256), theirs, 256, gpu.open_stream())
