"""Questions about CUDA's memory and errors: the beliefs of tests/fake_gpu/gpu_beliefs.py, asked of a real GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorrt", reason="no TensorRT here")

from gpu_pass import Pass, build, checked, copy, pinned

from sacvit.runtime.engines.cuda import open_cuda

pytestmark = pytest.mark.gpu
FIXTURES = Path(__file__).parents[1] / "fixtures"


def in_a_process(*arguments: object, **environment: str) -> str:
    """What another process prints: for what would end the GPU of this one."""
    paths = os.pathsep.join(filter(None, (str(FIXTURES), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": paths} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def fail(rt) -> tuple[object, object]:
    """An allocation of 64 times the memory there is."""
    return rt.cudaMalloc(64 * checked(rt.cudaMemGetInfo())[1])


def test_a_failed_call_returns_its_error_and_none(rt):
    error, address = fail(rt)
    assert int(error) != 0 and address is None and isinstance(rt.cudaGetErrorString(error)[1], bytes)


def test_a_hidden_gpu_is_no_gpu():
    ask = "from cuda.bindings import runtime; error, count = runtime.cudaGetDeviceCount(); print(int(error), count)"
    error, count = in_a_process("-c", ask, CUDA_VISIBLE_DEVICES="-1").split()
    assert int(error) != 0 and count in ("0", "None")


def test_the_properties_of_the_gpu_can_be_read(rt):
    properties = checked(rt.cudaGetDeviceProperties(0))
    assert isinstance(properties.name, bytes) and properties.name
    assert properties.major >= 5 and properties.minor >= 0 and properties.multiProcessorCount > 0
    assert properties.integrated in (0, 1) and properties.totalGlobalMem >= checked(rt.cudaMemGetInfo())[0] > 0


def test_the_driver_names_the_newest_cuda_as_a_number(rt):
    version = checked(rt.cudaDriverGetVersion())
    assert version % 10 == 0 and 11 <= version // 1000 <= 30


def test_an_allocation_beyond_the_memory_fails_and_harms_nothing(rt):
    assert fail(rt)[0] == rt.cudaError_t.cudaErrorMemoryAllocation
    checked(rt.cudaFree(checked(rt.cudaMalloc(256))))


def test_an_error_stays_until_it_is_asked_for(rt):
    rt.cudaGetLastError()
    fail(rt)
    assert [error for _ in range(2) for error in rt.cudaGetLastError()] == [
        rt.cudaError_t.cudaErrorMemoryAllocation, rt.cudaError_t.cudaSuccess
    ]  # fmt: skip


def test_fresh_memory_is_not_cleared(rt, stream):
    nbytes = 4096
    anchor = checked(rt.cudaMalloc(nbytes))  # keeps the driver from giving the page back
    seen, marks = pinned(nbytes), pinned(nbytes, 0xAB)
    for _ in range(64):
        block = int(checked(rt.cudaMalloc(nbytes)))
        copy(seen, block, nbytes, stream)
        copy(block, marks, nbytes, stream)
        checked(rt.cudaStreamSynchronize(stream))
        checked(rt.cudaFree(block))
    checked(rt.cudaFree(anchor))
    assert seen.any()


@pytest.mark.parametrize("nbytes", [1, 300, 5000])
def test_blocks_begin_at_256_bytes(rt, nbytes):
    for name, arguments in (("cudaMalloc", ()), ("cudaHostAlloc", (rt.cudaHostAllocMapped,))):
        assert [int(checked(getattr(rt, name)(nbytes, *arguments))) % 256 for _ in range(3)] == [0, 0, 0]


def test_freed_memory_is_unknown_to_cuda(rt):
    block = checked(rt.cudaMalloc(256))
    checked(rt.cudaFree(block))
    assert int(rt.cudaFree(block)[0]) != 0


def test_only_mapped_pinned_memory_has_an_address_on_the_gpu(rt):
    assert int(checked(rt.cudaHostGetDevicePointer(pinned(256).ctypes.data, 0))) != 0
    assert int(rt.cudaHostGetDevicePointer(np.zeros(4096, np.uint8).ctypes.data, 0)[0]) != 0


def test_pinned_memory_of_an_integrated_gpu_counts(rt):
    nbytes = 256 << 20
    before = checked(rt.cudaMemGetInfo())[0]
    block = checked(rt.cudaHostAlloc(nbytes, rt.cudaHostAllocMapped))
    taken = before - checked(rt.cudaMemGetInfo())[0]
    checked(rt.cudaFreeHost(block))
    assert (taken > nbytes // 2) == open_cuda().is_integrated


@pytest.mark.forbidden
def test_an_engine_may_write_into_pinned_memory(rt, loaded):
    if open_cuda().is_integrated:
        pytest.skip("every pass does so here")
    one = Pass(loaded)
    host = pinned(one.buffers["logits"].spec.nbytes)
    one.context.set_tensor_address("logits", int(checked(rt.cudaHostGetDevicePointer(host.ctypes.data, 0))))
    assert one.enqueue()
    checked(rt.cudaStreamSynchronize(one.lane.stream))
    assert np.allclose(host.view(np.float32), one.goldens.ee_logits[0], atol=1e-3)


def test_a_copy_finds_its_direction(rt, stream):
    here, there = pinned(256, 7), pinned(256)
    first, second = (int(checked(rt.cudaMalloc(256))) for _ in range(2))
    for target, source in ((first, here), (second, first), (there, second)):
        copy(target, source, 256, stream)
    checked(rt.cudaStreamSynchronize(stream))
    assert (there == 7).all()


@pytest.mark.forbidden
def test_a_copy_to_pageable_memory_is_allowed(rt, stream):
    block, there = int(checked(rt.cudaMalloc(256))), np.zeros(256, np.uint8)
    copy(block, pinned(256, 7), 256, stream)
    copy(there, block, 256, stream)
    checked(rt.cudaStreamSynchronize(stream))
    assert (there == 7).all()


def test_an_illegal_address_ends_everything_in_the_process(rt, plans):
    (plans / "illegal.plan").write_bytes(build(plans, (1,)))
    illegal = str(int(rt.cudaError_t.cudaErrorIllegalAddress))
    assert in_a_process("-m", "gpu_pass", "illegal", plans / "illegal.plan").split() == [illegal, illegal]


def test_a_context_without_scratch_does_not_run(plans, loaded):
    if not loaded.scratch_bytes:
        pytest.skip("this engine needs no scratch memory")
    (plans / "scratch.plan").write_bytes(loaded.content)
    ran, error = in_a_process("-m", "gpu_pass", "scratch", plans / "scratch.plan").split()
    assert ran == "False" or error != "0"
