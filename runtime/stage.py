"""A stage: one engine behind one set of bound buffers. ONNX Runtime here; other backends offer the same three names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..bundle.cpu import cpu_settings
from ..bundle.errors import EngineError
from ..bundle.manifest import HAND_OFF, StageRecord

Array = npt.NDArray[Any]
NUMPY_TYPES: dict[str, type[np.generic]] = {
    "tensor(uint8)": np.uint8,
    "tensor(int32)": np.int32,
    "tensor(float)": np.float32,
}
BOUNDARY = {  # inputs and outputs of each stage: docs/graphs.md
    "EE": ({"image"}, {"logits", "confidence", "class_attention", *HAND_OFF}),
    "SAC": ({"image", "row", *HAND_OFF}, {"logits"}),
    "plain": ({"image"}, {"logits"}),
}
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")  # the first that this build of ONNX Runtime has


@dataclass(frozen=True)
class TensorSpec:
    """Type and shape of an output, per image: without the batch dimension."""

    kind: type[np.generic]
    shape: tuple[int, ...]


class Binding(Protocol):
    """An engine with every input and output tied to an array."""

    def run(self) -> None:
        """One pass: reads the bound inputs, writes the bound outputs, returns when they are written."""


class Stage(Protocol):
    """An engine that has been loaded."""

    record: StageRecord
    batch: int | None  # images a pass when the engine is fixed to that, None when it takes any number
    outputs: Mapping[str, TensorSpec]
    backend: str  # what runs it, for people

    def bind(self, buffers: Mapping[str, Array]) -> Binding:
        """Ties each input and output to the array of its name; the arrays must outlive the binding and stay in place."""


class OnnxStage:
    """An ONNX file in ONNX Runtime."""

    def __init__(self, path: Path) -> None:
        import onnxruntime as ort  # here: other backends do without

        if path.is_dir():
            raise EngineError(f"{path} is a folder; --engine wants the two files of a bundle: ee.onnx sac.onnx")
        if not path.is_file():
            raise EngineError(f"{path} does not exist. Make it: sacvit-export --ckpt model.pth")
        ort.disable_telemetry_events()  # a camera's owner did not ask for any
        options = ort.SessionOptions()
        options.log_severity_level = 3  # errors; what they say reaches the user in our own message
        for key, value in cpu_settings().items():
            options.add_session_config_entry(key, value)
        offered = ort.get_available_providers()
        try:
            self.session = ort.InferenceSession(
                str(path), options, providers=[name for name in PROVIDERS if name in offered]
            )
        except Exception as reason:  # ONNX Runtime's exceptions share no base class
            first = str(reason).splitlines()[0][:300]
            raise EngineError(
                f"{path} ({path.stat().st_size} bytes) is no ONNX file that ONNX Runtime can load, or was cut short:"
                f" {first}. Export it again: sacvit-export --ckpt model.pth"
            ) from None
        self.path = path
        self.record = StageRecord.from_metadata(path, self.session.get_modelmeta().custom_metadata_map)
        self.backend = (
            f"ONNX Runtime {ort.__version__} on {self.session.get_providers()[0].removesuffix('ExecutionProvider')}"
        )
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        self._values = {value.name: value for value in (*inputs, *outputs)}
        self._inputs = [value.name for value in inputs]
        wanted_inputs, wanted_outputs = BOUNDARY[self.record.stage]
        if set(self._inputs) != wanted_inputs or {value.name for value in outputs} != wanted_outputs:
            raise EngineError(
                f"{path} is no {self.record.stage} stage: it has inputs {sorted(self._inputs)} and outputs"
                f" {sorted(value.name for value in outputs)}. Export it again"
            )
        for value in self._values.values():
            if value.type not in NUMPY_TYPES or not all(isinstance(side, int) for side in value.shape[1:]):
                raise EngineError(
                    f"{path}: {value.name} is {value.type} {value.shape}; its shape must be fixed. Export again"
                )
        self.outputs: Mapping[str, TensorSpec] = {
            value.name: TensorSpec(NUMPY_TYPES[value.type], tuple(value.shape[1:])) for value in outputs
        }
        labels, classes = self.record.labels, self.outputs["logits"].shape[0]
        if labels is not None and len(labels) != classes:
            raise EngineError(f"{path} names {len(labels)} labels for {classes} classes. Export it again")
        first_dim = self._values["image"].shape[0]
        self.batch = first_dim if isinstance(first_dim, int) else None

    def bind(self, buffers: Mapping[str, Array]) -> OnnxBinding:
        """See `Stage`. Raises EngineError when an array is missing or does not fit the graph."""
        binding = self.session.io_binding()
        for name, value in self._values.items():
            array = self._fitting(name, value, buffers)
            bind = binding.bind_input if name in self._inputs else binding.bind_output
            bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        return OnnxBinding(self.session, binding, dict(buffers))

    def _fitting(self, name: str, value: Any, buffers: Mapping[str, Array]) -> Array:
        array = buffers.get(name)
        expected = NUMPY_TYPES.get(value.type)
        if array is None or array.dtype != expected or not array.flags.c_contiguous:
            found = "no buffer" if array is None else f"{array.dtype} {array.shape}"
            raise EngineError(f"{self.path}: {name} wants a contiguous {value.type} {value.shape}, found {found}")
        fits = len(value.shape) == array.ndim and all(
            isinstance(want, str) or want == have for want, have in zip(value.shape, array.shape, strict=True)
        )
        if not fits:
            raise EngineError(f"{self.path}: {name} wants shape {value.shape}, found {array.shape}")
        return array


class OnnxBinding:
    """ONNX Runtime's io-binding over arrays of the caller, which it keeps alive."""

    def __init__(self, session: Any, binding: Any, buffers: dict[str, Array]) -> None:
        self.session, self.binding, self.buffers = session, binding, buffers

    def run(self) -> None:
        self.session.run_with_iobinding(self.binding)


def load_stage(path: Path) -> Stage:
    """The engine in a file, by its suffix. Raises EngineError for a file that is no engine of ours."""
    if path.suffix == ".onnx" or path.is_dir():
        return OnnxStage(path)
    raise EngineError(f"{path}: engines are .onnx files; found suffix {path.suffix or 'none'!r}")
