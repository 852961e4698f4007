"""An ONNX file in ONNX Runtime: on the CPU, or on a GPU through its CUDA or TensorRT provider."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...bundle.errors import EngineError, SacvitError
from ...bundle.manifest import EXPORT_AGAIN
from ...bundle.precision import PRECISIONS
from ...bundle.stage_record import StageRecord
from ...machine.cpu import cpu_settings
from ...machine.processor import physical_cores
from .buffers import Buffer, Device, HostDevice, Lane, TensorSpec, Use
from .options import PROVIDERS, Provider, providers_of
from .session_memory import mapped_session, share_arena
from .stage import PassTimes, require_boundary, require_fit, require_onnx, timed_whole

NUMPY_TYPES: dict[str, type[np.generic]] = {
    "tensor(uint8)": np.uint8,
    "tensor(int32)": np.int32,
    "tensor(float)": np.float32,
}
MAX_TRACE_BYTES = 256 << 20
AUTO: tuple[Provider, ...] = ("cuda", "cpu")  # TensorRT builds an engine for minutes: only who asks for it waits


class OrtCudaDevice(HostDevice):
    """A GPU behind ONNX Runtime: the hand-off stays there, the rest is in host memory and ONNX Runtime copies it."""

    name = "a GPU behind ONNX Runtime"

    def __init__(self, place: str = "cuda") -> None:
        self.place = place  # "cpu" in tests: the same calls without a GPU

    def allocate(self, specs: Mapping[str, TensorSpec], use: Use) -> dict[str, Buffer]:
        if use != "internal":
            return super().allocate(specs, use)
        import onnxruntime as ort

        buffers = {}
        for name, spec in specs.items():
            value = ort.OrtValue.ortvalue_from_shape_and_type(list(spec.shape), spec.kind, self.place, 0)
            buffers[name] = Buffer(
                spec, value.data_ptr(), None, False, value, "cuda" if self.place == "cuda" else "cpu"
            )
        return buffers


class OnnxStage:
    """See `Stage`. provider: "auto" takes CUDA where a first pass works there, else the CPU."""

    scratch_bytes = 0

    def __init__(self, path: Path, provider: Provider = "auto", threads: int = 0) -> None:
        import onnxruntime as ort  # here: other backends do without

        require_onnx(path)
        ort.disable_telemetry_events()  # only the owner of a device may agree to it
        self.path = path
        self.session, self.provider = open_session(path, provider, threads)  # never "auto"
        try:
            metadata = self.session.get_modelmeta().custom_metadata_map
            inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
            self._values = {value.name: value for value in (*inputs, *outputs)}
        except UnicodeDecodeError as reason:
            raise EngineError(
                f"{path} is damaged: it holds names that are no text ({reason}). {EXPORT_AGAIN}"
            ) from None
        self.record = StageRecord.from_metadata(path, metadata)
        self.backend = (
            f"ONNX Runtime {ort.__version__} on {PROVIDERS[self.provider].device.removesuffix('ExecutionProvider')}"
        )
        self.on_gpu = self.provider != "cpu"
        self.reports_layers = not self.on_gpu
        self.device: Device = OrtCudaDevice() if self.on_gpu else HostDevice()
        self._inputs = [value.name for value in inputs]
        for value in self._values.values():
            if value.type not in NUMPY_TYPES or not all(isinstance(side, int) for side in value.shape[1:]):
                raise EngineError(
                    f"{path}: {value.name} is {value.type} {value.shape}; its shape must be fixed. Export again"
                )
        self.outputs: Mapping[str, TensorSpec] = {
            value.name: TensorSpec(NUMPY_TYPES[value.type], tuple(value.shape[1:])) for value in outputs
        }
        require_boundary(path, self.record, self._inputs, self.outputs)
        first_dim = self._values["image"].shape[0]
        self.capacity = first_dim if isinstance(first_dim, int) else None
        self.batches: tuple[int, ...] | None = None if self.capacity is None else (self.capacity,)

    def bind(self, buffers: Mapping[str, Buffer], lane: Lane, uploads: Collection[str] = ()) -> OnnxBinding:
        """See `Stage`. Raises EngineError when a buffer is missing or does not fit the graph."""
        binding = self.session.io_binding()
        for name, value in self._values.items():
            buffer = buffers.get(name)
            kind = NUMPY_TYPES[value.type]
            require_fit(self.path, name, TensorSpec(kind, ()), tuple(value.shape), buffer)
            assert buffer is not None
            bind = binding.bind_input if name in self._inputs else binding.bind_output
            bind(name, buffer.place, 0, kind, buffer.spec.shape, buffer.address)
        return OnnxBinding(self.path, self.session, binding, [buffer.owner for buffer in buffers.values()])

    def layer_times(self, buffers: Mapping[str, Buffer], lane: Lane, passes: int) -> dict[str, list[float]]:
        """See `Stage`: from the trace that ONNX Runtime writes of a CPU."""
        with tempfile.TemporaryDirectory(prefix="sacvit-") as folder:
            session = make_session(self.path, "cpu", Path(folder) / "trace")
            feeds = {name: buffers[name].host for name in self._inputs}
            for _ in range(passes):
                session.run(None, feeds)
            trace = Path(session.end_profiling())
            if trace.stat().st_size > MAX_TRACE_BYTES:
                raise SacvitError(f"{self.path}: ONNX Runtime's trace of {passes} passes is too large to be read")
            events = json.loads(trace.read_text("utf-8"))
        times: dict[str, list[float]] = {}
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                name = f"{event['name'].removesuffix('_kernel_time')} ({event['args']['op_name']})"
                times.setdefault(name, []).append(event["dur"] / 1e3)
        return times


class OnnxBinding:
    """ONNX Runtime's io-binding over buffers, whose memory it keeps alive."""

    is_captured = None

    def __init__(self, path: Path, session: Any, binding: Any, owners: Sequence[object]) -> None:
        self.path, self.session, self.binding, self.owners = path, session, binding, owners

    def start(self) -> None:
        """See `Binding`. Raises EngineError when the pass fails."""
        try:
            self.session.run_with_iobinding(self.binding)
        except Exception as reason:  # ONNX Runtime's exceptions share no base class
            raise EngineError(f"{self.path}: the pass failed in ONNX Runtime: {first_line(reason)}") from None

    def wait(self) -> None:
        """Nothing: `start` returns when the pass is done."""

    def timed(self) -> PassTimes:
        """See `Binding`."""
        return timed_whole(self)


def open_session(path: Path, provider: Provider, threads: int = 0) -> tuple[Any, Provider]:
    """A session that has run once on the provider, and the provider's name.

    The list of providers says only what the package was built with; a missing driver or CUDA library shows when a
    session is made, and ONNX Runtime then goes on without the provider.
    """
    import onnxruntime as ort

    wanted = AUTO if provider == "auto" else (provider,)
    # ONNX Runtime's messages about missing libraries help users who requested CUDA; for others they are hidden.
    ort.set_default_logger_severity(4 if provider == "auto" else 3)
    offered = ort.get_available_providers()
    for name in wanted:
        last = name == wanted[-1]
        if PROVIDERS[name].device not in offered:
            if not last:
                continue
            names = [key for key in providers_of("onnxruntime") if PROVIDERS[key].device in offered]
            raise EngineError(
                f"--provider {name}: this ONNX Runtime was built without it; it has {', '.join(names)}."
                f" pip uninstall onnxruntime, then pip install 'sacvit[gpu]'"
            )
        session = make_session(path, name, threads=threads)
        if session.get_providers()[0] == PROVIDERS[name].device and (name == "cpu" or (fault := _try(session)) is None):
            return session, name
        if last:
            raise EngineError(
                f"--provider {name} does not work here: ONNX Runtime went on with"
                f" {session.get_providers()[0].removesuffix('ExecutionProvider')}"
                f"{'' if session.get_providers()[0] != PROVIDERS[name].device else f' until its first pass failed: {fault}'}."
                f" Check the driver (nvidia-smi) and the CUDA and cuDNN libraries that onnxruntime-gpu names in its"
                f" documentation, or use --provider cpu"
            )
    raise AssertionError("the last one wanted returns or raises")


def make_session(path: Path, provider: Provider, trace_into: Path | None = None, threads: int = 0) -> Any:
    """A session on the provider, where ONNX Runtime can make one. trace_into: a prefix for its file of times by node."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or physical_cores() or 0
    if trace_into is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(trace_into)
    options.log_severity_level = 4  # fatal; what went wrong reaches the user in our own message
    for key, value in cpu_settings().items():
        options.add_session_config_entry(key, value)
    if provider == "cpu":
        share_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
        # What a session takes from the shared arena stays there when the session ends: weights must not.
        options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    names = list(dict.fromkeys([PROVIDERS[provider].device, PROVIDERS["cpu"].device]))
    if provider == "tensorrt":
        names.insert(1, PROVIDERS["cuda"].device)  # for what TensorRT does not take
    try:
        mapped = mapped_session(path, options) if provider == "cpu" else None
        return mapped or ort.InferenceSession(str(path), options, providers=names)
    except Exception as reason:  # ONNX Runtime's exceptions share no base class
        for row in PRECISIONS:
            if not row.runs_on_cpu and path.name.endswith(f"{row.suffix}.onnx"):
                raise EngineError(
                    f"ONNX Runtime does not run {row.name.upper()} files as {path.name}: {first_line(reason)}. Build an engine"
                    f" for a GPU: sacvit-build {path.parent}, with --target rtx for TensorRT for RTX"
                ) from None
        raise EngineError(
            f"{path} ({path.stat().st_size} bytes) is no ONNX file that ONNX Runtime can load, or was cut short:"
            f" {first_line(reason)}. Export it again: sacvit-export --ckpt model.pth"
        ) from None


def first_line(reason: Exception) -> str:
    """The beginning of a message of ONNX Runtime, which may go over many lines."""
    return (str(reason) or type(reason).__name__).splitlines()[0][:300]


def _try(session: Any) -> str | None:
    """Runs the session once on zeros; why it failed, or None."""
    feeds = {}
    for value in session.get_inputs():
        shape = [side if isinstance(side, int) else 1 for side in value.shape]
        feeds[value.name] = np.zeros(shape, NUMPY_TYPES.get(value.type, np.float32))
    try:
        session.run(None, feeds)
    except Exception as reason:  # as above
        return first_line(reason)
    return None
