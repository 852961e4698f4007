"""EE and SAC as models of the same server, called by Triton's business logic scripting, with the interface of `Stage`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

from ..bundle.errors import EngineError
from ..runtime.engines.buffers import Array, Buffer, Device, HostDevice, Lane, TensorSpec
from ..runtime.engines.stage import PassTimes, timed_whole
from .description import StageAbout


class ServerStage:
    """See `runtime.stage.Stage`. name: of the model that holds the engine."""

    scratch_bytes, on_gpu, reports_layers, provider = 0, False, False, None
    backend = "Triton"

    def __init__(self, name: str, about: StageAbout) -> None:
        self.path = Path(name)
        self.record, self.capacity, self.batches = about.record, about.capacity, about.batches
        self.outputs: Mapping[str, TensorSpec] = about.outputs
        self.device: Device = HostDevice()

    def bind(self, buffers: Mapping[str, Buffer], lane: Lane, uploads: Collection[str] = ()) -> ServerBinding:
        """See `Stage`. The buffers are copied into the request, and the answers into the buffers."""
        hosts = {name: buffer.host for name, buffer in buffers.items() if buffer.host is not None}
        outputs = {name: hosts[name] for name in self.outputs}
        inputs = {name: array for name, array in hosts.items() if name not in outputs}
        if self.record.stage == "EE":
            inputs = {"image": inputs["image"]}
        return ServerBinding(str(self.path), inputs, outputs, compact=self.capacity is None)

    def layer_times(self, buffers: Mapping[str, Buffer], lane: Lane, passes: int) -> dict[str, list[float]]:
        """See `Stage`: a server reports no layers."""
        raise NotImplementedError


class ServerBinding:
    """One request to the model, over the same arrays each time.

    compact: SAC is sent only the survivors' images, where it takes any number; a plan takes the whole batch and gathers.
    """

    is_captured = None

    def __init__(self, model: str, inputs: Mapping[str, Array], outputs: Mapping[str, Array], compact: bool) -> None:
        self.model, self.inputs, self.outputs = model, inputs, outputs
        self.compact = compact and "row" in inputs

    def start(self) -> None:
        inputs = self.inputs
        if self.compact:
            row = inputs["row"]
            inputs = {name: array[row] for name, array in inputs.items() if name != "row"}
            inputs["row"] = np.arange(len(row), dtype=np.int32)
        request = pb_utils.InferenceRequest(
            model_name=self.model,
            requested_output_names=list(self.outputs),
            inputs=[pb_utils.Tensor(name, array) for name, array in inputs.items()],
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
        )
        response = request.exec()
        if response.has_error():
            reason = " ".join(response.error().message().split()).rstrip(".")
            raise EngineError(
                f"the model {self.model} did not answer: {reason}."
                f" Where the server lacks its backend: sacvit-serve --python-only"
            )
        for name, array in self.outputs.items():
            array[:] = pb_utils.get_output_tensor_by_name(response, name).as_numpy()

    def wait(self) -> None:
        """Does nothing: `start` returns when the answer is there."""

    def timed(self) -> PassTimes:
        """See `Binding`."""
        return timed_whole(self)
