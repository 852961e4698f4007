"""An ONNX file in OpenVINO: on a CPU, or on an Intel GPU or NPU. It reads the files that ONNX Runtime reads.

Shapes are fixed where they can be: EE is compiled for each number of images that is asked for, SAC for the batch, with the
number of survivors open where there is more than one image. Open shapes cost 5 to 11 % (DeiT-S on two cores).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...bundle.errors import EngineError
from ...bundle.files import make_writable
from ...bundle.manifest import EXPORT_AGAIN
from ...bundle.precision import Precision, row_of
from ...bundle.stage_record import StageRecord
from ...machine.cpu import saturates_int8
from .buffers import Buffer, Device, HostDevice, Lane, TensorSpec
from .options import PROVIDERS, Provider
from .stage import PassTimes, require_boundary, require_fit, require_onnx

logger = logging.getLogger(__name__)
NUMPY_TYPES: dict[str, type[np.generic]] = {"u8": np.uint8, "i32": np.int32, "f32": np.float32}
HINTS: dict[Precision, str] = {
    "fp32": "f32",
    "bf16": "bf16",
    "fp16": "f16",
}  # as OpenVINO names what operators compute in
CACHE = "openvino.cache"  # a folder beside the files: what was compiled, by OpenVINO's hash of file, device and version
METADATA = "framework"  # where OpenVINO keeps an ONNX file's metadata


class OpenvinoStage:
    """See `Stage`. Raises EngineError for a file that is no engine of ours, and for a device that is not here."""

    scratch_bytes, reports_layers = 0, True

    def __init__(self, path: Path, provider: Provider = "openvino", threads: int = 0) -> None:
        import openvino  # here: other backends do without

        require_onnx(path)
        self._openvino, self.path = openvino, path
        row = PROVIDERS[provider]
        self.provider: Provider | None = provider
        self._device, hint = row.device, HINTS[row.computes_in]
        self._core = openvino.Core()
        require_device(self._core, self._device, hint, provider)
        self._config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
        if threads and self._device == "CPU":
            self._config["INFERENCE_NUM_THREADS"] = threads
        if (cache := open_cache(path.parent / CACHE)) is not None:
            self._config["CACHE_DIR"] = str(cache)
        try:
            self._model = self._core.read_model(path)
        except RuntimeError as reason:
            raise EngineError(
                f"{path} is no ONNX file that OpenVINO can read: {first_line(reason)}. {EXPORT_AGAIN}"
            ) from None
        self.record = StageRecord.from_metadata(path, read_metadata(self._model))
        require_right(path, self.record.precision, self._device)
        self.backend = f"OpenVINO {openvino.__version__.partition('-')[0]} on {self._device}"
        self.on_gpu = self._device == "GPU"
        self.device: Device = HostDevice()
        self._inputs = {value.any_name: value for value in self._model.inputs}
        self._values = self._inputs | {value.any_name: value for value in self._model.outputs}
        for name, value in self._values.items():
            if value.element_type.get_type_name() not in NUMPY_TYPES:
                raise EngineError(
                    f"{path}: {name} is {value.element_type.get_type_name()} at the boundary. Export again"
                )
        self.outputs: Mapping[str, TensorSpec] = {
            value.any_name: TensorSpec(
                self._kind(value.any_name), tuple(side.get_length() for side in list(value.partial_shape)[1:])
            )
            for value in self._model.outputs
        }
        require_boundary(path, self.record, list(self._inputs), self.outputs)
        first = self._shape("image")[0]
        self.capacity: int | None = first if isinstance(first, int) else None
        self.batches: tuple[int, ...] | None = None if self.capacity is None else (self.capacity,)
        self._compiled: dict[Any, Any] = {}

    def bind(self, buffers: Mapping[str, Buffer], lane: Lane, uploads: Collection[str] = ()) -> OpenvinoBinding:
        """See `Stage`. Raises EngineError when a buffer is missing or does not fit the graph."""
        for name in self._values:
            require_fit(self.path, name, TensorSpec(self._kind(name), ()), self._shape(name), buffers.get(name))
        return OpenvinoBinding(self, self._request(buffers), buffers)

    def layer_times(self, buffers: Mapping[str, Buffer], lane: Lane, passes: int) -> dict[str, list[float]]:
        """See `Stage`: of the operators as OpenVINO fused them."""
        binding = OpenvinoBinding(self, self._request(buffers, PERF_COUNT=True), buffers)
        times: dict[str, list[float]] = {}
        for _ in range(passes):
            binding.start()
            binding.wait()
            for entry in binding.request.profiling_info:
                if entry.real_time:
                    times.setdefault(f"{entry.node_name} ({entry.node_type})", []).append(
                        entry.real_time.total_seconds() * 1e3
                    )
        return times

    def _kind(self, name: str) -> type[np.generic]:
        return NUMPY_TYPES[self._values[name].element_type.get_type_name()]

    def _shape(self, name: str) -> tuple[int | str | None, ...]:
        """The shape in the file, with None for what is open."""
        return tuple(side.get_length() if side.is_static else None for side in self._values[name].partial_shape)

    def _request(self, buffers: Mapping[str, Buffer], **further: Any) -> Any:
        """An inference request of the graph compiled for the buffers' shapes, tied to their memory."""
        openvino = self._openvino
        shapes = {name: list(buffers[name].spec.shape) for name in self._inputs}
        capacity = shapes["image"][0]
        if self.record.stage == "SAC" and capacity > 1 and self.capacity is None:
            shapes["row"] = [openvino.Dimension(1, capacity)]
        key = str(shapes), str(further)
        if key not in self._compiled:
            model = self._model.clone()
            model.reshape({name: openvino.PartialShape(shape) for name, shape in shapes.items()})
            try:
                self._compiled[key] = self._core.compile_model(model, self._device, {**self._config, **further})
            except RuntimeError as reason:
                raise EngineError(f"{self.path}: OpenVINO does not compile it: {first_line(reason)}") from None
        request = self._compiled[key].create_infer_request()
        for name in self._values:
            request.set_tensor(name, openvino.Tensor(buffers[name].host, shared_memory=True))
        return request


class OpenvinoBinding:
    """A request whose tensors are the buffers' own memory, which it keeps alive."""

    is_captured = None

    def __init__(self, stage: OpenvinoStage, request: Any, buffers: Mapping[str, Buffer]) -> None:
        self.path, self.request, self.buffers = stage.path, request, dict(buffers)

    def start(self) -> None:
        """See `Binding`. Raises EngineError when the pass fails."""
        try:
            self.request.start_async()
        except RuntimeError as reason:
            raise EngineError(f"{self.path}: the pass failed in OpenVINO: {first_line(reason)}") from None

    def wait(self) -> None:
        """See `Binding`. Raises EngineError when the pass failed."""
        try:
            self.request.wait()
        except RuntimeError as reason:
            raise EngineError(f"{self.path}: the pass failed in OpenVINO: {first_line(reason)}") from None

    def timed(self) -> PassTimes:
        """See `Binding`."""
        began = time.perf_counter()
        self.start()
        self.wait()
        whole = 1e3 * (time.perf_counter() - began)
        return PassTimes((0.0, 0.0), (0.0, 0.0), (0.0, whole), (whole, whole))


def read_metadata(model: Any) -> dict[str, str]:
    """What an ONNX file says of itself, from a model that OpenVINO has read."""
    if METADATA not in model.get_rt_info():
        return {}
    return {name: value.astype(str) for name, value in model.get_rt_info([METADATA]).astype(dict).items()}


def require_right(path: Path, precision: Precision, device: str) -> None:
    """Raises EngineError for files that OpenVINO computes wrongly: measured with 2026.4 on 1 000 scenes of the digits example.

    FP16 files on a CPU: a mean logit error of 3e17, and 46 % top-1 where FP32 has 93. It is the head of the GPU form that it
    gets wrong, a Mul and a ReduceSum, in FP32 too; the CPU form has a product. INT8 on a processor without VNNI: 88 %.
    """
    row = row_of(precision)
    if row.body != "fp32":
        raise EngineError(
            f"{path} is a {row.name.upper()} file, which OpenVINO computes wrongly on a CPU. Give the FP32 or INT8 files:"
            f" OpenVINO itself takes FP16 or BF16 where the device has it"
        )
    if row.quantizer is not None and device == "CPU" and saturates_int8():
        raise EngineError(
            f"{path}: this processor has no VNNI, and OpenVINO's INT8 sums saturate without it. Use --provider cpu, where they"
            f" do not, or the FP32 files"
        )


def require_device(core: Any, device: str, hint: str, provider: Provider) -> None:
    """Raises EngineError for a device that OpenVINO does not find, and for a type that it does not have."""
    found = core.available_devices
    if not any(name.partition(".")[0] == device for name in found):
        raise EngineError(
            f"--provider {provider}: OpenVINO finds no {device} here, only {', '.join(found) or 'nothing'}. Its driver may be"
            f" missing"
        )
    if hint == "bf16" and "BF16" not in core.get_property(device, "OPTIMIZATION_CAPABILITIES"):
        raise EngineError(f"--provider {provider}: this processor has no BF16 instructions. Use --provider openvino")


def open_cache(folder: Path) -> Path | None:
    """The folder of compiled graphs, made where it is missing; None where it cannot be written: every start compiles again."""
    try:
        make_writable(folder)
    except OSError as reason:
        logger.info("%s cannot be written (%s): every start compiles again", folder, reason.strerror)
        return None
    return folder


def first_line(reason: Exception) -> str:
    """What went wrong in OpenVINO, without the places in its source that its messages begin with."""
    lines = [
        line.strip() for line in str(reason).splitlines() if line.strip() and not line.startswith("Exception from")
    ]
    return (lines[-1] if lines else type(reason).__name__)[:300]
