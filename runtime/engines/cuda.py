"""The CUDA runtime, as far as two engines need it: memory, streams, graphs, events. One thin layer on cuda-python.

Every call is checked; what fails carries CUDA's own name and text. A process uses one GPU, the first that
CUDA_VISIBLE_DEVICES shows.

More than 250 lines: one class, so that every call is checked and every handle dropped in one place.
"""

from __future__ import annotations

import ctypes
import gc
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from ...bundle.errors import DeviceError, SacvitError
from ...bundle.plan_record import Gpu
from .buffers import Array, Buffer, Lane, TensorSpec, Use, offsets

MIB = 1 << 20


class CaptureError(SacvitError):
    """Work that cannot become a CUDA graph."""


@dataclass(frozen=True)
class CudaLane:
    """A stream, and the scratch memory of whatever runs on it: one pass at a time."""

    stream: Any
    scratch: Buffer | None

    @property
    def handle(self) -> int:
        return int(self.stream)


class Cuda:
    """The first GPU. runtime, driver: the modules of those names in `cuda.bindings`, or some that offer the same calls.

    Raises DeviceError when there is no GPU that answers.
    """

    name, overlaps = "CUDA", True

    def __init__(self, runtime: Any, driver: Any) -> None:
        self._cuda, self._driver = runtime, driver
        error, count = runtime.cudaGetDeviceCount()
        if error != runtime.cudaError_t.cudaSuccess or not count:
            reason = f": {self._text(error)}" if int(error) else ""
            raise DeviceError(
                f"no GPU that CUDA can use{reason}. Check the driver (nvidia-smi; on a Jetson, tegrastats)"
            )
        self._call("cudaSetDevice", 0)
        properties = self._call("cudaGetDeviceProperties", 0)
        name = properties.name
        self.gpu = Gpu(
            name=name.decode() if isinstance(name, bytes) else str(name),
            compute_capability=f"{properties.major}.{properties.minor}",
            multiprocessors=int(properties.multiProcessorCount),
        )
        self.is_integrated = bool(properties.integrated)
        self.driver_version = int(self._call("cudaDriverGetVersion"))  # 12060: the newest CUDA it speaks is 12.6
        error, context = driver.cuDevicePrimaryCtxRetain(0)  # the one that CUDA's runtime works in
        if int(error):
            raise DeviceError(f"the GPU has no context for CUDA's runtime: {error}. Check the driver (nvidia-smi)")
        self._context = int(context)

    # Memory

    def memory_bytes(self) -> tuple[int, int]:
        """Free and total device memory."""
        free, total = self._call("cudaMemGetInfo")
        return int(free), int(total)

    def allocate(self, specs: Mapping[str, TensorSpec], use: Use) -> dict[str, Buffer]:
        """See `Device`. On an integrated GPU what the host reads or writes is one memory for both: nothing is copied."""
        places, size = offsets(specs)
        if use == "internal":
            owner = self._device_block(size)
            address = host = owner.address
        elif self.is_integrated:
            owner = self._pinned_block(size)
            address, host = int(self._call("cudaHostGetDevicePointer", owner.address, 0)), owner.address
        else:
            owner, mirror = self._device_block(size), self._pinned_block(size)
            address, host = owner.address, mirror.address
            owner.beside = mirror
        buffers = {}
        for name, spec in specs.items():
            array: Array | None = None
            if use != "internal":
                raw = (ctypes.c_uint8 * spec.nbytes).from_address(host + places[name])
                array = np.frombuffer(memoryview(raw), spec.kind).reshape(spec.shape)
                array[...] = 0
            mirrored = use != "internal" and not self.is_integrated
            buffers[name] = Buffer(spec, address + places[name], array, mirrored, owner, "cuda")
        return buffers

    def copy(self, target: int, source: int, nbytes: int, lane: CudaLane) -> None:
        """Enqueues a copy between any two addresses; host memory must be pinned."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDefault
        self._call("cudaMemcpyAsync", target, source, nbytes, kind, lane.stream)

    def lanes(self, scratch_bytes: Sequence[int]) -> list[Lane]:
        """See `Device`."""
        return [self.open_lane(size) for size in scratch_bytes]

    def open_lane(self, scratch_bytes: int = 0) -> CudaLane:
        """A stream that waits for no other, with scratch of its own."""
        stream = self._call("cudaStreamCreateWithFlags", self._cuda.cudaStreamNonBlocking)
        scratch = None
        if scratch_bytes:
            spec = TensorSpec(np.uint8, (scratch_bytes,))
            scratch = self.allocate({"scratch": spec}, "internal")["scratch"]
        lane = CudaLane(stream, scratch)
        weakref.finalize(lane, self._drop, "cudaStreamDestroy", stream)
        return lane

    # Work

    def synchronize(self, lane: CudaLane) -> None:
        """Returns when everything on the lane is done."""
        self._call("cudaStreamSynchronize", lane.stream)

    def follow(self, lane: CudaLane, stream: int) -> None:
        """See `Device`: the GPU waits, the host does not."""
        event = self._call("cudaEventCreateWithFlags", self._cuda.cudaEventDisableTiming)
        try:
            self._call("cudaEventRecord", event, stream)
            self._call("cudaStreamWaitEvent", lane.stream, event, 0)
        finally:
            self._drop("cudaEventDestroy", event)

    def in_reach(self, address: int) -> bool:
        """Whether memory is of this GPU's primary context, or of none, as that of CUDA's memory pools is."""
        attribute = self._driver.CUpointer_attribute.CU_POINTER_ATTRIBUTE_CONTEXT
        error, context = self._driver.cuPointerGetAttribute(attribute, address)
        return bool(int(error)) or int(context) in (0, self._context)

    def capture(self, lane: CudaLane, enqueue: Callable[[], None]) -> CudaGraph:
        """What `enqueue` puts on the lane, as a graph. Raises CaptureError, with the reason, when it cannot be one."""
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        reason: SacvitError | None = None
        was_collecting = gc.isenabled()
        gc.disable()  # a buffer that is collected meanwhile would be freed, which no capture survives
        try:
            self._call("cudaStreamBeginCapture", lane.stream, mode)
            enqueue()
        except SacvitError as fault:
            reason = fault
        finally:
            error, graph = self._cuda.cudaStreamEndCapture(lane.stream)
            if was_collecting:
                gc.enable()
        success = self._cuda.cudaError_t.cudaSuccess
        if reason is None and error != success:
            reason = SacvitError(self._text(error))
        if reason is None:
            error, executable = self._cuda.cudaGraphInstantiate(graph, 0)
        if graph is not None and int(graph):
            self._drop("cudaGraphDestroy", graph)
        if reason is None:
            if error == success:
                return CudaGraph(self, executable, lane)
            reason = SacvitError(self._text(error))
        self._cuda.cudaGetLastError()  # a failed capture leaves its error, which the next call would report
        raise CaptureError(str(reason))

    def launch(self, executable: Any, lane: CudaLane) -> None:
        self._call("cudaGraphLaunch", executable, lane.stream)

    # Time

    def record(self, lane: CudaLane) -> Any:
        """An event on the lane, for `elapsed_ms`."""
        event = self._call("cudaEventCreateWithFlags", self._cuda.cudaEventDefault)
        self._call("cudaEventRecord", event, lane.stream)
        return event

    def elapsed_ms(self, first: Any, second: Any) -> float:
        """Between two recorded events, both of which end here. Waits for the second."""
        self._call("cudaEventSynchronize", second)
        elapsed = float(self._call("cudaEventElapsedTime", first, second))
        for event in (first, second):
            self._call("cudaEventDestroy", event)
        return elapsed

    # Blocks and checks

    def _device_block(self, size: int) -> _Block:
        return _Block(self, self._sized("cudaMalloc", size, size), "cudaFree")

    def _pinned_block(self, size: int) -> _Block:
        return _Block(self, self._sized("cudaHostAlloc", size, size, self._cuda.cudaHostAllocMapped), "cudaFreeHost")

    def _sized(self, name: str, size: int, *arguments: Any) -> int:
        result = getattr(self._cuda, name)(*arguments)
        if result[0] == self._cuda.cudaError_t.cudaErrorMemoryAllocation:
            self._cuda.cudaGetLastError()
            free, total = self.memory_bytes()
            raise SacvitError(
                f"out of GPU memory: {size / MIB:.1f} MiB wanted, {free / MIB:.0f} of {total / MIB:.0f} MiB free."
                f" Close other programs, or build the plans for smaller batches: sacvit-build --batch 1"
            )
        return int(self._checked(name, result))

    def _call(self, name: str, *arguments: Any) -> Any:
        return self._checked(name, getattr(self._cuda, name)(*arguments))

    def _checked(self, name: str, result: tuple[Any, ...]) -> Any:
        """What a call returns behind its error. Raises DeviceError: after most of them nothing runs in this process."""
        error, *values = result
        if error != self._cuda.cudaError_t.cudaSuccess:
            raise DeviceError(
                f"the GPU gave up at {name}: {self._text(error)}. Start the program again; when it stays, see dmesg"
            )
        return values[0] if len(values) == 1 else values

    def _text(self, error: Any) -> str:
        _, text = self._cuda.cudaGetErrorString(error)
        name = getattr(error, "name", str(error))
        return f"{text.decode() if isinstance(text, bytes) else text} ({name})"

    def _drop(self, name: str, handle: Any) -> None:
        getattr(self._cuda, name)(handle)  # unchecked: at the interpreter's end CUDA may be gone already


class _Block:
    """Memory that is freed with its last reference."""

    beside: _Block | None = None  # its mirror

    def __init__(self, cuda: Cuda, address: int, free: str) -> None:
        self.address = address
        weakref.finalize(self, cuda._drop, free, address)


class CudaGraph:
    """Work that one call launches. It holds addresses: what it was captured from must outlive it."""

    def __init__(self, cuda: Cuda, executable: Any, lane: CudaLane) -> None:
        self._cuda, self._executable, self._lane = cuda, executable, lane
        weakref.finalize(self, cuda._drop, "cudaGraphExecDestroy", executable)

    def launch(self) -> None:
        self._cuda.launch(self._executable, self._lane)


@cache
def open_cuda() -> Cuda:
    """The GPU of this process."""
    from cuda.bindings import driver, runtime

    return Cuda(runtime, driver)
