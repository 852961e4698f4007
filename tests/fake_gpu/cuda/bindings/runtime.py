"""A stand-in for `cuda.bindings.runtime`: the same calls and returns, over host memory.

It is stricter than a GPU where code forgets something. Streams are lazy: work runs when the stream is waited for, so that a
missing wait reads stale data. Every address must lie in living memory of the right kind. Work of two streams that is pending
at once must not share scratch memory, nor write what the other touches. `DEVICE` counts calls, bytes and allocations.
What it takes for true of CUDA stands in ../../gpu_beliefs.py, by name.

More than 250 lines: one module of CUDA, with one pretended device.
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

from gpu_beliefs import enacts, forbid

Span = tuple[int, int]  # address, bytes


class cudaError_t(IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100
    cudaErrorInvalidResourceHandle = 400
    cudaErrorNotReady = 600
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
cudaEventDisableTiming = 2
cudaStreamLegacy = 1  # the default stream
PRIMARY = 900  # the context that CUDA's runtime works in
OK = cudaError_t.cudaSuccess


@dataclass(frozen=True)
class Work:
    """A copy or a kernel: what it touches, and what it does."""

    run: Callable[[], None]  # holds nothing alive that the caller may drop
    reads: tuple[Span, ...] = ()
    writes: tuple[Span, ...] = ()
    scratch: Span | None = None
    is_copy: bool = False  # may touch pinned memory on any GPU


@enacts("asynchronous work", "order in a stream", "independent streams")
@dataclass
class Stream:
    handle: int
    pending: list[tuple[int, Work]] = field(default_factory=list)  # by number, in order
    enqueued: int = 0
    capturing: list[Work] | None = None
    invalid: bool = False
    context: int = PRIMARY
    waited: dict[int, int] = field(default_factory=dict)  # how much of other streams' work comes before what follows


class Handle(int):
    """What the bindings return: an object that int() takes."""


class Device:
    """One pretended GPU."""

    def __init__(self) -> None:
        self.blocks: dict[int, tuple[Any, int, str]] = {}  # address -> (memory, bytes, "device" or "pinned")
        self.former: list[Any] = []
        self.numbers = itertools.count(1000)  # of handles, none twice: a late destroy must not hit a new stream
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
        self.foreign: dict[int, int] = {}  # blocks of other contexts
        self.context = PRIMARY  # that memory is allocated in
        self.streams: dict[int, Stream] = {cudaStreamLegacy: Stream(cudaStreamLegacy)}
        self.graphs: dict[int, list[Work]] = {}
        self.events: dict[int, tuple[Stream, int]] = {}  # the stream, and how much work it had been given
        self.first = next(self.numbers)
        self.lost = False
        self.last_error = OK
        self.calls: Counter[str] = Counter()
        self.copied: Counter[str] = Counter()  # bytes, by "pinned to device" and so on

    # Memory

    @enacts("uncleared memory", "256-byte blocks")
    def allocate(self, nbytes: int, kind: str) -> int:
        memory = (ctypes.c_uint8 * (nbytes + 256))()
        ctypes.memset(memory, 0xCD, nbytes + 256)
        address = -(-ctypes.addressof(memory) // 256) * 256
        self.blocks[address] = memory, nbytes, kind
        if self.context != PRIMARY:
            self.foreign[address] = self.context
        return address

    @enacts("integrated memory")
    def used(self) -> int:
        return sum(size for _, size, kind in self.blocks.values() if kind == "device" or self.integrated)

    def is_former(self, handle: Any) -> bool:
        """Whether a block, stream or graph is of a device before: what is left of it ends without an error."""
        return 1000 <= int(handle) < self.first or any(handle in blocks for blocks in self.former)

    def block_of(self, span: Span) -> int | None:
        for address, (_, size, _) in self.blocks.items():
            if address <= span[0] and span[0] + span[1] <= address + size:
                return address
        return None

    def kind_of(self, span: Span) -> str | None:
        """ "device" or "pinned" where the span lies inside one block."""
        block = self.block_of(span)
        return None if block is None else self.blocks[block][2]

    def context_of(self, span: Span) -> int | None:
        block = self.block_of(span)
        return None if block is None else self.foreign.get(block, PRIMARY)

    # Work

    def stream(self, handle: Any) -> Stream:
        known = int(handle) or cudaStreamLegacy
        forbid(known not in self.streams, "stream handles")
        return self.streams[known]

    @enacts("illegal address", "capture", "spoilt captures")
    def enqueue(self, handle: Any, work: Work) -> cudaError_t:
        """Puts work on a stream, or into what it captures."""
        stream = self.stream(handle)
        for span in (*work.reads, *work.writes):
            kind = self.kind_of(span)
            forbid(self.context_of(span) not in (None, stream.context), "context of memory")
            forbid(work.is_copy and kind is None, "pageable copies")
            forbid(kind == "pinned" and not (work.is_copy or self.integrated), "pinned memory in kernels")
            if kind is None:
                self.lost = True
                return cudaError_t.cudaErrorIllegalAddress
        if stream.invalid:
            return cudaError_t.cudaErrorStreamCaptureInvalidated
        if stream.capturing is not None:
            stream.capturing.append(work)
        else:
            self.put(stream, work)
        return OK

    def put(self, stream: Stream, work: Work) -> None:
        for other in self.streams.values():
            for number, theirs in other.pending if other is not stream else ():
                if number <= stream.waited.get(other.handle, 0):
                    continue
                shares_scratch = work.scratch and theirs.scratch and overlap(work.scratch, theirs.scratch)
                forbid(bool(shares_scratch), "shared scratch")
                for written, touched in (
                    (work.writes, theirs.reads + theirs.writes), (theirs.writes, work.reads + work.writes)
                ):  # fmt: skip
                    races = any(overlap(one, two) for one in written for two in touched)
                    forbid(races, "independent streams")
        stream.enqueued += 1
        stream.pending.append((stream.enqueued, work))

    def drain(self, stream: Stream, until: int | None = None) -> None:
        """Runs what is pending, or what was up to a number."""
        for handle, number in stream.waited.items():
            if handle in self.streams:
                self.drain(self.streams[handle], number)
        while stream.pending and (until is None or stream.pending[0][0] <= until):
            _, work = stream.pending.pop(0)
            forbid(not self.holds(work), "freed memory")
            work.run()

    def holds(self, work: Work) -> bool:
        """Whether all memory that the work touches is there."""
        spans = (*work.reads, *work.writes, *([work.scratch] if work.scratch else []))
        return all(self.kind_of(span) is not None for span in spans)

    def is_capturing(self, handle: int) -> bool:
        return self.stream(handle).capturing is not None

    def spoil_captures(self) -> bool:
        """Whether one is under way."""
        capturing = [stream for stream in self.streams.values() if stream.capturing is not None]
        for stream in capturing:
            stream.invalid = True
        return bool(capturing)


def overlap(one: Span, two: Span) -> bool:
    return one[0] < two[0] + two[1] and two[0] < one[0] + one[1]


DEVICE = Device()


@enacts("error first", "illegal address", "last error")
def call(function: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
    """Counts a call, keeps its error, and fails it after the device was lost."""

    @functools.wraps(function)
    def counted(*arguments: Any) -> tuple[Any, ...]:
        DEVICE.calls[function.__name__] += 1
        if function.__name__.startswith("cudaGet") and "Error" in function.__name__:
            return function(*arguments)
        if DEVICE.lost:
            values = 0 if function.__name__ in NOTHING else 2 if function.__name__ == "cudaMemGetInfo" else 1
            result: tuple[Any, ...] = (cudaError_t.cudaErrorIllegalAddress, *[None] * values)
        else:
            result = function(*arguments)
        if result[0] != OK:
            DEVICE.last_error = result[0]
        return result

    return counted


NOTHING = {  # calls that return nothing but their error
    "cudaSetDevice", "cudaFree", "cudaFreeHost", "cudaMemcpyAsync", "cudaStreamDestroy", "cudaStreamSynchronize",
    "cudaStreamQuery", "cudaEventRecord", "cudaEventSynchronize", "cudaEventDestroy", "cudaStreamBeginCapture",
    "cudaGraphLaunch", "cudaGraphExecDestroy", "cudaGraphDestroy", "cudaStreamWaitEvent",
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
@enacts("hidden GPU")
def cudaGetDeviceCount():
    count = 0 if os.environ.get("CUDA_VISIBLE_DEVICES") == "-1" else DEVICE.count
    return (OK, count) if count else (cudaError_t.cudaErrorNoDevice, None)


@call
def cudaSetDevice(device):
    return (OK,)


@call
@enacts("device properties")
def cudaGetDeviceProperties(device):
    name = DEVICE.name.encode()
    return OK, cudaDeviceProp(name, *DEVICE.compute, DEVICE.multiprocessors, int(DEVICE.integrated), DEVICE.total_bytes)


@call
@enacts("driver version")
def cudaDriverGetVersion():
    return OK, DEVICE.driver


@call
def cudaMemGetInfo():
    return OK, (DEVICE.memory_bytes or DEVICE.total_bytes) - DEVICE.used(), DEVICE.total_bytes


@enacts("memory in a capture", "out of memory")
def allocate(nbytes, kind):
    if DEVICE.spoil_captures():
        return cudaError_t.cudaErrorStreamCaptureUnsupported, None
    if DEVICE.used() + nbytes > (DEVICE.memory_bytes or DEVICE.total_bytes):
        return cudaError_t.cudaErrorMemoryAllocation, None
    return OK, DEVICE.allocate(nbytes, kind)


@call
def cudaMalloc(size):
    return allocate(size, "device")


@call
def cudaHostAlloc(size, flags):
    return allocate(size, "pinned")


@call
@enacts("mapped pinned memory")
def cudaHostGetDevicePointer(pHost, flags):
    return (OK, pHost) if DEVICE.kind_of((pHost, 1)) == "pinned" else (cudaError_t.cudaErrorInvalidValue, None)


def drop(held: dict[int, Any], handle: Any) -> tuple[cudaError_t]:
    is_known = held.pop(int(handle), None) is not None or DEVICE.is_former(handle)
    return (OK if is_known else cudaError_t.cudaErrorInvalidValue,)


@enacts("freed memory", "memory in a capture")
def free(address):
    if DEVICE.spoil_captures():
        return (cudaError_t.cudaErrorStreamCaptureUnsupported,)
    return drop(DEVICE.blocks, address)


@call
def cudaFree(devPtr):
    return free(devPtr)


@call
def cudaFreeHost(ptr):
    return free(ptr)


@call
@enacts("unified addressing")
def cudaMemcpyAsync(dst, src, count, kind, stream):
    kinds = DEVICE.kind_of((src, count)), DEVICE.kind_of((dst, count))

    def run() -> None:
        ctypes.memmove(dst, src, count)
        DEVICE.copied[f"{kinds[0]} to {kinds[1]}"] += count

    return (DEVICE.enqueue(stream, Work(run, ((src, count),), ((dst, count),), is_copy=True)),)


@call
@enacts("stream handles", "default stream")
def cudaStreamCreateWithFlags(flags):
    handle = next(DEVICE.numbers)
    DEVICE.streams[handle] = Stream(handle)
    return OK, Handle(handle)


@call
@enacts("destroyed streams")
def cudaStreamDestroy(stream):
    found = DEVICE.streams.get(int(stream))
    while found and found.pending:
        _, work = found.pending.pop(0)
        if DEVICE.holds(work):  # a pipeline that is dropped in the middle frees its buffers too
            work.run()
    return drop(DEVICE.streams, stream)


@enacts("waiting in a capture")
def is_spoilt_by_waiting(stream: Stream) -> bool:
    stream.invalid = stream.capturing is not None
    return stream.invalid


@call
def cudaStreamSynchronize(stream):
    found = DEVICE.stream(stream)
    if is_spoilt_by_waiting(found):
        return (cudaError_t.cudaErrorStreamCaptureUnsupported,)
    DEVICE.drain(found)
    return (OK,)


@call
def cudaStreamQuery(stream):
    found = DEVICE.stream(stream)
    if is_spoilt_by_waiting(found):
        return (cudaError_t.cudaErrorStreamCaptureUnsupported,)
    return (cudaError_t.cudaErrorNotReady if found.pending else OK,)


@call
def cudaEventCreateWithFlags(flags):
    return OK, Handle(next(DEVICE.numbers))


@call
@enacts("events", "events of a context")
def cudaEventRecord(event, stream):
    found = DEVICE.stream(stream)
    if found.context != PRIMARY:
        return (cudaError_t.cudaErrorInvalidResourceHandle,)
    DEVICE.events[int(event)] = found, found.enqueued
    return (OK,)


@call
@enacts("waiting for an event", "default stream")
def cudaStreamWaitEvent(stream, event, flags):
    other, number = DEVICE.events[int(event)]
    DEVICE.stream(stream).waited[other.handle] = number
    return (OK,)


@call
def cudaEventSynchronize(event):
    DEVICE.drain(*DEVICE.events[int(event)])
    return (OK,)


@call
def cudaEventElapsedTime(start, end):
    return OK, 0.25


@call
def cudaEventDestroy(event):
    DEVICE.events.pop(int(event), None)
    return (OK,)


@call
def cudaStreamBeginCapture(stream, mode):
    DEVICE.stream(stream).capturing = []
    return (OK,)


@call
def cudaStreamEndCapture(stream):
    found = DEVICE.stream(stream)
    work, found.capturing = found.capturing, None
    invalid, found.invalid = found.invalid or DEVICE.capture_fails, False
    if invalid or work is None:
        return cudaError_t.cudaErrorStreamCaptureInvalidated, None
    handle = next(DEVICE.numbers)
    DEVICE.graphs[handle] = work
    return OK, Handle(handle)


@call
@enacts("instantiated graphs")
def cudaGraphInstantiate(graph, flags):
    handle = next(DEVICE.numbers)
    DEVICE.graphs[handle] = list(DEVICE.graphs[int(graph)])
    return OK, Handle(handle)


@call
def cudaGraphLaunch(graphExec, stream):
    found = DEVICE.stream(stream)
    for work in DEVICE.graphs[int(graphExec)]:
        DEVICE.put(found, work)
    return (OK,)


@call
def cudaGraphExecDestroy(graphExec):
    return drop(DEVICE.graphs, graphExec)


@call
def cudaGraphDestroy(graph):
    return drop(DEVICE.graphs, graph)


@call
def cudaGetLastError():
    error, DEVICE.last_error = DEVICE.last_error, OK
    return (error,)


@call
def cudaGetErrorString(error):
    return OK, f"fake text of {int(error)}".encode()
