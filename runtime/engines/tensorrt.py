"""A TensorRT plan: static contexts, one CUDA graph per pass, no copies but those to and from the host.

Works on every TensorRT from 8.6 to 11: what differs is found with hasattr, never by version. docs/tensorrt.md says which.

More than 250 lines: a plan and its bindings share contexts, shapes and the journal; apart they would import each other.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ...bundle.errors import EngineError, SacvitError
from ...bundle.plan_record import read_plan_record, rebuild, require_place, require_whole
from .buffers import Buffer, Device, TensorSpec
from .cuda import CaptureError, CudaGraph, CudaLane, open_cuda
from .stage import PassTimes, Span, require_boundary, require_fit
from .tensorrt_log import load_tensorrt, open_journal, open_layer_times

logger = logging.getLogger(__name__)
NUMPY_TYPES: dict[str, type[np.generic]] = {"UINT8": np.uint8, "INT32": np.int32, "FLOAT": np.float32}
FUSED = re.compile(r"_mha|fmha", re.IGNORECASE)  # kgen_mha, _gemm_mha_v2, fmha_v2
GAP = 4096  # bytes between two tensors that are cheaper to copy along than to start a second copy


class TensorrtStage:
    """See `Stage`. Raises EngineError for a plan that is not of this machine, before TensorRT reads a byte of it."""

    on_gpu, reports_layers, provider = True, True, None
    library = "TensorRT"

    def __init__(self, path: Path, *, use_graphs: bool = True) -> None:
        self.plan = self._read_record(path)
        content = path.read_bytes()
        require_whole(path, self.plan, content)
        self.trt = self._load_library()
        self.cuda = open_cuda()
        self.device: Device = self.cuda
        self.path, self.record = path, self.plan.record
        self.backend = f"{self.library} {self.trt.__version__} on {self.cuda.gpu.name}"
        self.use_graphs = use_graphs
        self._journal = open_journal(self.trt)
        self._runtime = self.trt.Runtime(self._journal)
        self._require_place(content)
        self._engine = self._runtime.deserialize_cuda_engine(content)
        if self._engine is None:
            raise EngineError(f"{path}: {self.library} does not load it: {self._journal.reason()}. {rebuild(path)}")
        size = getattr(self._engine, "device_memory_size_v2", None)  # 64 bits, where TensorRT has it
        self.scratch_bytes = int(self._engine.device_memory_size if size is None else size)
        self._read_boundary()

    # What tensorrt_rtx.py has its own of.

    def _read_record(self, path: Path) -> Any:
        return read_plan_record(path)

    def _load_library(self) -> Any:
        return load_tensorrt()

    def _require_place(self, content: bytes) -> None:
        """Raises EngineError where the engine cannot run here, before TensorRT loads it."""
        require_place(self.path, self.plan, self.trt.__version__, self.cuda.gpu)

    def _new_context(self) -> Any:
        """An execution context without memory of its own; None where TensorRT makes none."""
        strategies = getattr(self.trt, "ExecutionContextAllocationStrategy", None)
        if strategies is None:
            return self._engine.create_execution_context_without_device_memory()
        return self._engine.create_execution_context(strategies.USER_MANAGED)

    def _passed(self) -> None:
        """Called when a binding has run for the first time."""

    # What they share.

    def _read_boundary(self) -> None:
        engine, input_mode = self._engine, self.trt.TensorIOMode.INPUT
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        self._inputs = [name for name in names if engine.get_tensor_mode(name) == input_mode]
        self._kinds = {}
        for name in names:
            kind = engine.get_tensor_dtype(name).name
            if kind not in NUMPY_TYPES:
                raise EngineError(f"{self.path}: {name} is {kind} at the boundary. Export and build it again")
            self._kinds[name] = NUMPY_TYPES[kind]
        shapes = {name: tuple(engine.get_tensor_shape(name)) for name in names}
        if any(-1 in shape[1:] for shape in shapes.values()):
            raise EngineError(f"{self.path}: inner sizes are open in {shapes}. Build for one batch size: --batch N")
        self.outputs: Mapping[str, TensorSpec] = {
            name: TensorSpec(self._kinds[name], shapes[name][1:]) for name in names if name not in self._inputs
        }
        require_boundary(self.path, self.record, self._inputs, self.outputs)
        self._is_dynamic = any(-1 in shape for shape in shapes.values())
        # By profile: the shape of each input. A profile here has one shape, not a range.
        self._profiles = [
            {
                name: tuple(engine.get_tensor_profile_shape(name, index)[2]) if self._is_dynamic else shapes[name]
                for name in self._inputs
            }
            for index in range(engine.num_optimization_profiles if self._is_dynamic else 1)
        ]
        counted = "row" if self.record.stage == "SAC" else "image"
        self._profile_of = {shapes[counted][0]: index for index, shapes in enumerate(self._profiles)}
        self.batches: tuple[int, ...] | None = tuple(sorted(self._profile_of))
        self.capacity: int | None = max(shapes["image"][0] for shapes in self._profiles)

    def fused_attention(self) -> int:
        """How many layers of the engine are fused attention, by the names that TensorRT gives their kernels."""
        inspector = self._engine.create_engine_inspector()
        layers = json.loads(inspector.get_engine_information(self.trt.LayerInformationFormat.JSON)).get("Layers", [])
        return sum(bool(FUSED.search(json.dumps(layer))) for layer in layers)

    def layer_times(self, buffers: Mapping[str, Buffer], lane: Any, passes: int) -> dict[str, list[float]]:
        """See `Stage`. A captured graph would time nothing: the passes are enqueued call by call."""
        return self._bound(buffers, lane, (), use_graph=False).layer_times(passes)

    def bind(self, buffers: Mapping[str, Buffer], lane: Any, uploads: Collection[str] = ()) -> TensorrtBinding:
        """See `Stage`. Each binding is a context of its own, so that no captured graph ever sees an address change."""
        return self._bound(buffers, lane, uploads, use_graph=self.use_graphs)

    def _bound(
        self, buffers: Mapping[str, Buffer], lane: CudaLane, uploads: Collection[str], *, use_graph: bool
    ) -> TensorrtBinding:
        counted = buffers.get("row" if self.record.stage == "SAC" else "image")
        index = None if counted is None else self._profile_of.get(counted.spec.shape[0])
        if index is None:
            found = "no buffer" if counted is None else f"{counted.spec.shape[0]}"
            raise EngineError(
                f"{self.path} takes {self.batches} images per pass, found {found}. sacvit-build --batch N"
            )
        shapes = self._profiles[index]
        count = (buffers["row"] if self.record.stage == "SAC" else buffers["image"]).spec.shape[0]
        for name, kind in self._kinds.items():
            shape = shapes.get(name) or (count, *self.outputs[name].shape)
            require_fit(self.path, name, TensorSpec(kind, ()), shape, buffers.get(name))
        context = self._open_context(lane)
        if self._is_dynamic:
            try:
                context.set_optimization_profile_async(index, lane.handle)
            except RuntimeError as reason:  # it raises where its C++ counterpart returns false
                raise EngineError(f"{self.path}: profile {index}: {reason}: {self._journal.reason()}") from None
            self.cuda.synchronize(lane)
            for name in self._inputs:
                if not context.set_input_shape(name, shapes[name]):
                    raise EngineError(f"{self.path}: {name} {shapes[name]} is refused: {self._journal.reason()}")
        for name in self._kinds:
            if not context.set_tensor_address(name, buffers[name].address):
                raise EngineError(f"{self.path}: the address of {name} is refused: {self._journal.reason()}")
        outputs = [buffers[name] for name in self.outputs]
        binding = TensorrtBinding(self, context, lane, [buffers[name] for name in uploads], outputs, dict(buffers))
        if use_graph:
            binding.capture()
        return binding

    def _open_context(self, lane: CudaLane) -> Any:
        """A context that works in the lane's scratch memory: contexts on one lane never overlap."""
        context = self._new_context()
        if context is None:
            raise SacvitError(f"{self.path}: no execution context: {self._journal.reason()}. Close other programs")
        scratch = lane.scratch
        if self.scratch_bytes and (scratch is None or scratch.spec.nbytes < self.scratch_bytes):
            raise EngineError(f"{self.path} needs {self.scratch_bytes} bytes of scratch, its lane has less")
        if scratch is not None:
            if hasattr(context, "set_device_memory"):
                context.set_device_memory(scratch.address, scratch.spec.nbytes)
            else:
                context.device_memory = scratch.address
        return context


class TensorrtBinding:
    """A context over fixed buffers: uploads, the engine and the copies back, as one CUDA graph where that can be."""

    def __init__(
        self,
        stage: TensorrtStage,
        context: Any,
        lane: CudaLane,
        uploads: list[Buffer],
        outputs: list[Buffer],
        buffers: dict[str, Buffer],
    ) -> None:
        self._stage, self._context, self.lane, self._buffers = stage, context, lane, buffers
        self.cuda = stage.cuda
        self._copies_in = [
            (buffer.address, buffer.host_address, buffer.spec.nbytes) for buffer in uploads if buffer.mirrored
        ]
        self._copies_out = _joined(
            [(buffer, buffer.host_address, buffer.address) for buffer in outputs if buffer.mirrored]
        )
        self.graph: CudaGraph | None = None
        self.capture_fault: str | None = None

    def capture(self) -> None:
        """Makes the pass one CUDA graph, where that can be."""
        # One pass before: TensorRT does work at the first one that does not belong into a graph.
        self._enqueue()
        self.cuda.synchronize(self.lane)
        self._stage._passed()
        try:
            self.graph = self.cuda.capture(self.lane, self._enqueue)
        except CaptureError as reason:
            self.capture_fault = str(reason)
            _warn_once(
                f"{self._stage.path}: no CUDA graph: {reason}. Every pass is enqueued call by call, which costs the CPU more"
            )

    @property
    def is_captured(self) -> bool:
        return self.graph is not None

    def start(self) -> None:
        if self.graph is None:
            self._enqueue()
        else:
            self.graph.launch()

    def wait(self) -> None:
        self.cuda.synchronize(self.lane)

    def _enqueue(self) -> None:
        for part in self.parts:
            part()

    @property
    def parts(self) -> tuple[Callable[[], None], Callable[[], None], Callable[[], None]]:
        """What a pass is made of, each enqueued by a call: uploads, the engine, copies back."""
        return self._upload, self._execute, self._download

    def timed(self) -> PassTimes:
        """See `Binding`: call by call, each part between two events on the GPU."""
        began = time.perf_counter()
        marks = []
        for part in self.parts:
            marks.append(self.cuda.record(self.lane))
            part()
            marks.append(self.cuda.record(self.lane))
        enqueued = 1e3 * (time.perf_counter() - began)
        spans: list[Span] = []
        at = 0.0
        for first, second in zip(marks[0::2], marks[1::2], strict=True):
            elapsed = self.cuda.elapsed_ms(first, second)
            spans.append((at, at + elapsed))
            at += elapsed
        return PassTimes((0.0, enqueued), *spans)

    def layer_times(self, passes: int) -> dict[str, list[float]]:
        """ms of each layer in each of some passes over what the buffers hold. A captured graph would time nothing: without."""
        times = open_layer_times(self._stage.trt)
        self._context.profiler = times
        for _ in range(passes):
            self._enqueue()
            self.wait()
        return dict(times.layers)

    def _upload(self) -> None:
        for target, source, nbytes in self._copies_in:
            self.cuda.copy(target, source, nbytes, self.lane)

    def _execute(self) -> None:
        if not self._context.execute_async_v3(self.lane.handle):
            reason = self._stage._journal.reason()
            raise SacvitError(f"{self._stage.path}: {self._stage.library} does not run it: {reason}")

    def _download(self) -> None:
        for target, source, nbytes in self._copies_out:
            self.cuda.copy(target, source, nbytes, self.lane)


def _joined(copies: list[tuple[Buffer, int, int]]) -> list[tuple[int, int, int]]:
    """Copies (buffer, target, source) as (target, source, bytes), in as few as possible: small neighbours go together."""
    joined: list[tuple[int, int, int]] = []
    last_owner: object = None
    for buffer, target, source in sorted(copies, key=lambda copy: copy[1]):
        nbytes = buffer.spec.nbytes
        if joined and last_owner is buffer.owner:
            first_target, first_source, first_bytes = joined[-1]
            if target - first_target - first_bytes < GAP and source - first_source == target - first_target:
                joined[-1] = (first_target, first_source, target - first_target + nbytes)
                continue
        joined.append((target, source, nbytes))
        last_owner = buffer.owner
    return joined


@cache
def _warn_once(line: str) -> None:
    logger.warning("%s", line)
