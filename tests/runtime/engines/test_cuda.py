"""The layer on CUDA beside a program that uses PyCUDA, on a pretended GPU. tests/gpu/test_pycuda.py asks a real one."""

from __future__ import annotations

import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from sacvit.bundle.errors import DeviceError, ImageError
from sacvit.runtime.chain.pipeline import Pipeline
from sacvit.runtime.engines.cuda import Cuda

IMAGE_BYTES = 32 * 32 * 3
PAGE = Path(__file__).parents[3] / "docs" / "tensorrt.md"


@dataclass
class GPUArray:
    """What an array of PyCUDA 2026.1 shows (pycuda/gpuarray.py): it names no stream, whatever works on it."""

    address: int
    shape: tuple[int, ...] = (32, 32, 3)
    stream: int | None = None  # PyCUDA's is always None

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        strides = tuple(int(side) for side in np.cumprod([1, *reversed(self.shape[1:])])[::-1])
        content = {"shape": self.shape, "strides": strides, "data": (self.address, False), "typestr": "|u1"}
        return content | {"stream": self.stream, "version": 3}


@dataclass
class DeviceAllocation:
    """What pycuda.driver.mem_alloc gives."""

    address: int

    def __int__(self) -> int:
        return self.address

    def free(self) -> None:
        raise AssertionError("somebody freed what is PyCUDA's")


@pytest.fixture
def pipeline(make_plans: Any) -> Pipeline:
    folder: Path = make_plans()
    return Pipeline.load(folder / "ee.plan", folder / "sac.plan")


@pytest.fixture
def cuda(pipeline: Pipeline) -> Any:
    """CUDA's calls, as PyCUDA or anybody else makes them."""
    from cuda.bindings import runtime

    return runtime


def pinned(cuda: Any, picture: np.ndarray) -> int:
    import ctypes

    address = int(cuda.cudaHostAlloc(picture.nbytes, cuda.cudaHostAllocMapped)[1])
    ctypes.memmove(address, np.ascontiguousarray(picture).ctypes.data, picture.nbytes)
    return address


def uploaded(cuda: Any, picture: np.ndarray, stream: int) -> int:
    """The address of a picture on the GPU, whose upload is still under way on a stream."""
    address = int(cuda.cudaMalloc(picture.nbytes)[1])
    kind = cuda.cudaMemcpyKind.cudaMemcpyDefault
    (error,) = cuda.cudaMemcpyAsync(address, pinned(cuda, picture), picture.nbytes, kind, stream)
    assert int(error) == 0
    return address


def a_stream(cuda: Any) -> int:
    return int(cuda.cudaStreamCreateWithFlags(cuda.cudaStreamNonBlocking)[1])


def test_an_array_of_pycuda_is_classified_after_its_default_streams_work(pipeline, fake_gpu, cuda, pictures):
    array = GPUArray(uploaded(cuda, pictures[0], cuda.cudaStreamLegacy))
    fake_gpu.device.copied.clear()
    assert pipeline(array).probability == pipeline(pictures[0]).probability
    assert fake_gpu.device.copied["device to device"] == IMAGE_BYTES


def test_a_batch_of_pycuda_is_classified_as_one_from_the_host(pipeline, cuda, pictures):
    array = GPUArray(uploaded(cuda, pictures[:3], cuda.cudaStreamLegacy), (3, 32, 32, 3))
    expected = [result.probability for result in pipeline(pictures[:3])]
    assert [result.probability for result in pipeline(array)] == expected


def test_an_array_that_names_its_stream_is_classified_after_that_streams_work(pipeline, cuda, pictures):
    stream = a_stream(cuda)
    array = GPUArray(uploaded(cuda, pictures[0], stream), stream=stream)
    assert pipeline(array).probability == pipeline(pictures[0]).probability


def test_the_host_waits_for_no_stream_of_theirs(pipeline, fake_gpu, cuda, pictures):
    pipeline.threshold = 0.0  # every image exits
    pipeline(GPUArray(uploaded(cuda, pictures[0], cuda.cudaStreamLegacy)))
    array = GPUArray(uploaded(cuda, pictures[0], cuda.cudaStreamLegacy))
    before = Counter(fake_gpu.device.calls)
    pipeline(array)
    calls = Counter(fake_gpu.device.calls) - before
    assert calls["cudaStreamSynchronize"] == 1  # for the answer
    assert calls["cudaEventCreateWithFlags"] == calls["cudaStreamWaitEvent"] == calls["cudaEventDestroy"] == 1


def test_engines_that_did_not_follow_would_be_caught(pipeline, cuda, pictures, monkeypatch):
    """The planted fault: without it the tests above could not fail."""
    monkeypatch.setattr(Cuda, "follow", lambda self, lane, stream: None)
    array = GPUArray(uploaded(cuda, pictures[0], cuda.cudaStreamLegacy))
    with pytest.raises(AssertionError, match="independent streams"):
        pipeline(array)


def test_an_array_of_pycudas_own_context_is_refused_with_the_cure(pipeline, fake_gpu, pictures):
    from cuda.bindings import driver

    driver.cuCtxCreate(0, 0)  # import pycuda.autoinit
    array = GPUArray(int(driver.cuMemAlloc(IMAGE_BYTES)[1]))
    driver.cuCtxPopCurrent()
    with pytest.raises(ImageError, match=r"this GPUArray lies in another CUDA context .*pycuda\.autoprimaryctx"):
        pipeline(array)
    assert pipeline(pictures[0]).label  # the engines go on


@pytest.mark.parametrize("answer", [(0, 0), (1, None)])
def test_memory_whose_context_cuda_does_not_name_is_left_to_the_copy(pipeline, cuda, monkeypatch, pictures, answer):
    """As that of a memory pool may be."""
    from cuda.bindings import driver

    monkeypatch.setattr(driver, "cuPointerGetAttribute", lambda attribute, ptr: answer)
    assert pipeline(GPUArray(uploaded(cuda, pictures[0], cuda.cudaStreamLegacy))).label


def test_a_gpu_without_a_context_for_the_runtime_is_a_missing_device(cuda, monkeypatch):
    from cuda.bindings import driver

    monkeypatch.setattr(
        driver, "cuDevicePrimaryCtxRetain", lambda dev: (driver.CUresult.CUDA_ERROR_INVALID_VALUE, None)
    )
    with pytest.raises(DeviceError, match=r"no context for CUDA's runtime: .*Check the driver"):
        Cuda(cuda, driver)


def test_a_bare_allocation_of_pycuda_is_refused_with_the_cure(pipeline):
    with pytest.raises(ImageError, match=r"a DeviceAllocation is GPU memory without a shape.*gpuarray\.GPUArray\("):
        pipeline(DeviceAllocation(4096))


def test_engines_on_a_cpu_refuse_an_array_of_pycuda_and_name_get(engines):
    with pytest.raises(ImageError, match=r"these engines take images from host memory.*array\.get\(\) in PyCUDA"):
        Pipeline.load(*engines)(GPUArray(4096))


def test_the_example_of_the_page_runs(make_plans, monkeypatch, tmp_path):
    """PyCUDA's two modules are pretended: it does not import without a GPU."""
    (tmp_path / "build").symlink_to(make_plans())
    monkeypatch.chdir(tmp_path)
    from cuda.bindings import runtime

    modules = {name: ModuleType(name) for name in ("pycuda", "pycuda.autoprimaryctx", "pycuda.gpuarray")}
    modules["pycuda"].gpuarray = modules["pycuda.gpuarray"]
    modules["pycuda.gpuarray"].zeros = lambda shape, kind: GPUArray(
        uploaded(runtime, np.zeros(shape, kind), runtime.cudaStreamLegacy), shape
    )
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    names: dict[str, Any] = {}
    exec(example, names)
    assert names["result"].label
