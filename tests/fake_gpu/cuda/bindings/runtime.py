"""A stand-in for `cuda.bindings.runtime`: the same calls and returns, over host memory.

It is stricter than a GPU where code forgets something. Streams are lazy: work runs when the stream is waited for, so that a
missing wait reads stale data. Every address must lie in living memory of the right kind. Work of two streams that is pending
at once must not share scratch memory, nor write what the other touches. `DEVICE` counts calls, bytes and allocations.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

Span = tuple[int, int]  # address, bytes


class cudaError_t(IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100
    cudaErrorIllegalAddress = 700
    cudaErrorStreamCaptureUnsupported = 900
    cudaErrorStreamCaptureInvalidated = 901


class cudaMemcpyKind(IntEnum):
    cudaMemcpyHostToHost = 0
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2
    cudaMemcpyDeviceToDevice = 3
    cudaMemcpyDefault = 4


class cudaStreamCaptureMode(IntEnum):
    cudaStreamCaptureModeGlobal = 0
    cudaStreamCaptureModeThreadLocal = 1
    cudaStreamCaptureModeRelaxed = 2


cudaHostAllocMapped = 2
cudaStreamNonBlocking = 1
cudaEventDefault = 0
OK = cudaError_t.cudaSuccess


@dataclass(frozen=True)
class Work:
    """A copy or a kernel: what it touches, and what it does."""

    run: Callable[[], None]  # holds nothing alive that the caller may drop
    reads: tuple[Span, ...] = ()
    writes: tuple[Span, ...] = ()
    scratch: Span | None = None


@dataclass
class Stream:
    handle: int
    pending: list[Work] = field(default_factory=list)
    capturing: list[Work] | None = None
    invalid: bool = False
    idle_reads: int = 0


class Handle(int):
    """What the bindings return: an object that int() takes."""


class Device:
    """One pretended GPU."""

    def __init__(self) -> None:
        self.blocks: dict[int, tuple[Any, int, str]] = {}  # address -> (memory, bytes, "device" or "pinned")
        self.former: list[Any] = []
        self.reset(**json.loads(os.environ.get("FAKE_CUDA", "{}")))

    def reset(
        self,
        *,
        count: int = 1,
        name: str = "Fake GPU",
        compute: Sequence[int] = (8, 7),
        multiprocessors: int = 8,
        integrated: bool = False,
        total_bytes: int = 8 << 30,
        memory_bytes: int | None = None,
        capture_fails: bool = False,
        driver: int = 12060,
    ) -> None:
        """A fresh device. memory_bytes: where allocations begin to fail."""
        self.count, self.name, self.compute, self.multiprocessors = count, name, tuple(compute), multiprocessors
        self.integrated, self.total_bytes, self.memory_bytes = integrated, total_bytes, memory_bytes
        self.capture_fails, self.driver = capture_fails, driver
        self.former.append(self.blocks)  # kept: a late free of an old block must not hit a new one at its address
        self.blocks = {}
        self.streams: dict[int, Stream] = {}
        self.graphs: dict[int, list[Work]] = {}
        self.numbers = itertools.count(1000)
        self.lost = False
        self.last_error = False  # of a call that failed before: who asks for errors next trips over it
        self.calls: Counter[str] = Counter()
        self.copied: Counter[str] = Counter()  # bytes, by "pinned to device" and so on
        self.in_capture: set[int] = set()  # contexts of the fake TensorRT that a graph holds

    # Memory

    def allocate(self, nbytes: int, kind: str) -> int:
        memory = (ctypes.c_uint8 * (nbytes + 256))()
        ctypes.memset(memory, 0xCD, nbytes)  # nobody may count on zeros
        address = -(-ctypes.addressof(memory) // 256) * 256
        self.blocks[address] = memory, nbytes, kind
        return address

    def used(self) -> int:
        return sum(size for _, size, kind in self.blocks.values() if kind == "device" or self.integrated)

    def kind_of(self, span: Span) -> str | None:
        """ "device" or "pinned" where the span lies inside one block."""
        for address, (_, size, kind) in self.blocks.items():
            if address <= span[0] and span[0] + span[1] <= address + size:
                return kind
        return None

    # Work

    def enqueue(self, handle: int, work: Work, *, host: bool = False) -> cudaError_t:
        """Puts work on a stream, or into what it captures. host: work that may touch pinned memory on any GPU."""
        stream = self.streams.get(handle)
        if stream is None:
            return cudaError_t.cudaErrorInvalidValue
        for span in (*work.reads, *work.writes):
            kind = self.kind_of(span)
            if kind is None or (kind == "pinned" and not (host or self.integrated)):
                self.lost = True
                return cudaError_t.cudaErrorIllegalAddress
        if stream.capturing is not None:
            stream.capturing.append(work)
        else:
            self.put(stream, work)
        return OK

    def put(self, stream: Stream, work: Work) -> None:
        for other in self.streams.values():
            if other is stream:
                continue
            for theirs in other.pending:
                if work.scratch and theirs.scratch and overlap(work.scratch, theirs.scratch):
                    raise AssertionError("two streams work in the same scratch memory at once")
                for written, touched in (
                    (work.writes, theirs.reads + theirs.writes), (theirs.writes, work.reads + work.writes)
                ):  # fmt: skip
                    if any(overlap(one, two) for one in written for two in touched):
                        raise AssertionError("one stream writes what another one uses at once")
        stream.pending.append(work)

    def drain(self, stream: Stream) -> cudaError_t:
        """Runs what is pending. Memory that was freed meanwhile is gone for good, as on a GPU."""
        while stream.pending:
            work = stream.pending.pop(0)
            spans = (*work.reads, *work.writes, *([work.scratch] if work.scratch else []))
            if any(self.kind_of(span) is None for span in spans):
                self.lost = True
                return cudaError_t.cudaErrorIllegalAddress
            work.run()
        return OK

    def is_capturing(self, handle: int) -> bool:
        stream = self.streams.get(handle)
        return stream is not None and stream.capturing is not None


def overlap(one: Span, two: Span) -> bool:
    return one[0] < two[0] + two[1] and two[0] < one[0] + one[1]


DEVICE = Device()


def call(function: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
    """Counts a call, and fails it after the device was lost."""

    @functools.wraps(function)
    def counted(*arguments: Any) -> tuple[Any, ...]:
        DEVICE.calls[function.__name__] += 1
        if DEVICE.lost and not function.__name__.startswith("cudaGetErr"):
            values = 0 if function.__name__ in NOTHING else 2 if function.__name__ == "cudaMemGetInfo" else 1
            return cudaError_t.cudaErrorIllegalAddress, *[None] * values
        return function(*arguments)

    return counted


NOTHING = {  # calls that return nothing but their error
    "cudaSetDevice", "cudaFree", "cudaFreeHost", "cudaMemcpyAsync", "cudaStreamDestroy", "cudaStreamSynchronize",
    "cudaEventRecord", "cudaEventSynchronize", "cudaEventDestroy", "cudaStreamBeginCapture", "cudaGraphLaunch",
    "cudaGraphExecDestroy", "cudaGraphDestroy", "cudaGetLastError",
}  # fmt: skip


@dataclass
class cudaDeviceProp:
    name: bytes
    major: int
    minor: int
    multiProcessorCount: int
    integrated: int
    totalGlobalMem: int


@call
def cudaGetDeviceCount():
    return (OK, DEVICE.count) if DEVICE.count else (cudaError_t.cudaErrorNoDevice, None)


@call
def cudaSetDevice(device):
    return (OK,)


@call
def cudaGetDeviceProperties(device):
    name = DEVICE.name.encode()
    return OK, cudaDeviceProp(name, *DEVICE.compute, DEVICE.multiprocessors, int(DEVICE.integrated), DEVICE.total_bytes)


@call
def cudaDriverGetVersion():
    return OK, DEVICE.driver


@call
def cudaMemGetInfo():
    return OK, (DEVICE.memory_bytes or DEVICE.total_bytes) - DEVICE.used(), DEVICE.total_bytes


def allocate(nbytes, kind):
    capturing = [stream for stream in DEVICE.streams.values() if stream.capturing is not None]
    for stream in capturing:
        stream.invalid = True
    if capturing:
        return cudaError_t.cudaErrorStreamCaptureUnsupported, None
    if DEVICE.memory_bytes is not None and DEVICE.used() + nbytes > DEVICE.memory_bytes:
        return cudaError_t.cudaErrorMemoryAllocation, None
    return OK, DEVICE.allocate(nbytes, kind)


@call
def cudaMalloc(size):
    return allocate(size, "device")


@call
def cudaHostAlloc(size, flags):
    return allocate(size, "pinned")


@call
def cudaHostGetDevicePointer(pHost, flags):
    return (OK, pHost) if DEVICE.kind_of((pHost, 1)) == "pinned" else (cudaError_t.cudaErrorInvalidValue, None)


@call
def cudaFree(devPtr):
    return (OK if DEVICE.blocks.pop(devPtr, None) else cudaError_t.cudaErrorInvalidValue,)


@call
def cudaFreeHost(ptr):
    return (OK if DEVICE.blocks.pop(ptr, None) else cudaError_t.cudaErrorInvalidValue,)


@call
def cudaMemcpyAsync(dst, src, count, kind, stream):
    kinds = DEVICE.kind_of((src, count)), DEVICE.kind_of((dst, count))

    def run() -> None:
        ctypes.memmove(dst, src, count)
        DEVICE.copied[f"{kinds[0]} to {kinds[1]}"] += count

    return (DEVICE.enqueue(int(stream), Work(run, ((src, count),), ((dst, count),)), host=True),)


@call
def cudaStreamCreateWithFlags(flags):
    handle = next(DEVICE.numbers)
    DEVICE.streams[handle] = Stream(handle)
    return OK, Handle(handle)


@call
def cudaStreamDestroy(stream):
    return (OK if DEVICE.streams.pop(int(stream), None) else cudaError_t.cudaErrorInvalidValue,)


@call
def cudaStreamSynchronize(stream):
    found = DEVICE.streams.get(int(stream))
    if found is None:
        return (cudaError_t.cudaErrorInvalidValue,)
    if found.capturing is not None:
        found.invalid = True
        return (cudaError_t.cudaErrorStreamCaptureUnsupported,)
    return (DEVICE.drain(found),)


@call
def cudaEventCreateWithFlags(flags):
    return OK, Handle(next(DEVICE.numbers))


EVENTS: dict[int, int] = {}


@call
def cudaEventRecord(event, stream):
    EVENTS[int(event)] = int(stream)
    return (OK,)


@call
def cudaEventSynchronize(event):
    return (DEVICE.drain(DEVICE.streams[EVENTS[int(event)]]),)


@call
def cudaEventElapsedTime(start, end):
    return OK, 0.25


@call
def cudaEventDestroy(event):
    EVENTS.pop(int(event), None)
    return (OK,)


@call
def cudaStreamBeginCapture(stream, mode):
    DEVICE.streams[int(stream)].capturing = []
    return (OK,)


@call
def cudaStreamEndCapture(stream):
    found = DEVICE.streams[int(stream)]
    work, found.capturing = found.capturing, None
    invalid, found.invalid = found.invalid or DEVICE.capture_fails, False
    if invalid or work is None:
        DEVICE.last_error = True
        return cudaError_t.cudaErrorStreamCaptureInvalidated, None
    handle = next(DEVICE.numbers)
    DEVICE.graphs[handle] = work
    return OK, Handle(handle)


@call
def cudaGraphInstantiate(graph, flags):
    handle = next(DEVICE.numbers)
    DEVICE.graphs[handle] = list(DEVICE.graphs[int(graph)])
    return OK, Handle(handle)


@call
def cudaGraphLaunch(graphExec, stream):
    found = DEVICE.streams[int(stream)]
    for work in DEVICE.graphs[int(graphExec)]:
        DEVICE.put(found, work)
    return (OK,)


@call
def cudaGraphExecDestroy(graphExec):
    return (OK if DEVICE.graphs.pop(int(graphExec), None) is not None else cudaError_t.cudaErrorInvalidValue,)


@call
def cudaGraphDestroy(graph):
    return (OK if DEVICE.graphs.pop(int(graph), None) is not None else cudaError_t.cudaErrorInvalidValue,)


@call
def cudaGetLastError():
    DEVICE.last_error = False
    return (OK,)


@call
def cudaGetErrorString(error):
    return OK, f"fake text of {int(error)}".encode()
