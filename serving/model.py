"""The gate as a model of Triton's Python backend: `sacvit` of a repository that sacvit-serve wrote.

Runs in the server's stub process, one for each instance.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from ..bundle.errors import SacvitError
from ..images.opencv import silence_opencv
from ..runtime.chain.pipeline import Pipeline, Result
from .batcher import Asked, BusyError, Chain
from .description import EE_MODEL, SAC_MODEL, About
from .gate import EachGate
from .metrics import Metrics
from .requests import Fill, fills_of, threshold_of
from .stages import ServerStage

ABOVE_ALL = 2.0  # a threshold that no confidence reaches


class TritonPythonModel:
    """What Triton calls: `initialize` once an instance, `execute` for every batch of requests."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the engines and runs them once, or learns where they are served. Raises what is wrong with them."""
        silence_opencv()  # of what clients send, it would write a line for each picture into the server's log
        config = json.loads(args["model_config"])
        self.about = About.from_config(config, "this model was not written by sacvit-serve, or its config is damaged")
        gate = EachGate(self.about.threshold, self.about.temperature)
        if self.about.stages:
            ee, sac = self.about.stages
            pipeline = Pipeline(ServerStage(EE_MODEL, ee), ServerStage(SAC_MODEL, sac), self.about.threshold)
        else:
            pipeline = self._loaded(config, args)
        pipeline.reserve(self.about.max_batch)
        if not self.about.stages:  # those may not be ready yet, and have warm-up requests of their own
            pipeline.gate = gate
            gate.begin([ABOVE_ALL])
            pipeline.run(1)
        self.metrics = Metrics(args["model_name"], args["model_version"], args["model_instance_name"])
        self.chain = Chain(pipeline, gate, self.metrics, self.about.max_batch, self.about.max_queue)

    def execute(self, requests: Sequence[Any]) -> None:
        """Answers each request through its own sender: an exit does not wait for SAC.

        All are sent from this thread and before this returns: a later answer can end the server (2.51: SIGSEGV in its
        Python backend).
        """
        self.chain.serve([Asked(self._client(request), partial(self._read, request)) for request in requests])

    def _client(self, request: Any) -> TritonClient:
        return TritonClient(request.get_response_sender(), self.metrics, self.about.grid)

    def _read(self, request: Any) -> tuple[list[Fill], float]:
        image = pb_utils.get_input_tensor_by_name(request, "image").as_numpy()
        threshold = threshold_of(request.parameters(), self.about.threshold)
        return fills_of(image, self.about.preprocessing), threshold

    def finalize(self) -> None:
        self.chain.close()

    def _loaded(self, config: dict[str, Any], args: dict[str, str]) -> Pipeline:
        """The engines that lie beside model.py. Instances on a CPU share its cores."""
        folder = Path(args["model_repository"]) / args["model_version"]
        instances = sum(group.get("count", 1) for group in config["instance_group"])
        plans = (folder / "ee.plan").is_file()
        names = ("ee.plan", "sac.plan") if plans else ("ee.onnx", "sac.onnx")
        return Pipeline.load(
            folder / names[0],
            folder / names[1],
            self.about.threshold,
            "auto" if plans or args["model_instance_kind"] == "GPU" else "cpu",
            threads=max(1, len(os.sched_getaffinity(0)) // instances),
        )


class TritonClient:
    """See `chain.Client`: a request's sender."""

    def __init__(self, sender: Any, metrics: Metrics, grid: int) -> None:
        self.sender, self.metrics, self.grid = sender, metrics, grid

    def answer(self, results: list[Result]) -> None:
        self.metrics.requests["answered"].increment(1)
        self._send(pb_utils.InferenceResponse(tensors_of(results, self.grid)))

    def fail(self, reason: Exception) -> None:
        """An error for this client alone: its own fault where we say so, ours where we did not expect it."""
        codes = pb_utils.TritonError
        if isinstance(reason, BusyError):
            outcome, code = "busy", codes.UNAVAILABLE
        elif isinstance(reason, SacvitError) and reason.exit_code in (1, 2):
            outcome, code = "refused", codes.INVALID_ARG
        else:
            outcome, code = "failed", codes.INTERNAL
        self.metrics.requests[outcome].increment(1)
        text = str(reason) if isinstance(reason, SacvitError) else f"{type(reason).__name__}: {reason}"
        self._send(pb_utils.InferenceResponse(error=codes(text, code)))

    def _send(self, response: Any) -> None:
        self.sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def tensors_of(results: list[Result], grid: int) -> list[pb_utils.Tensor]:
    """The answer to a request: a row for each image."""
    maps = np.zeros((len(results), grid * grid), np.int32)
    for row, result in zip(maps, results, strict=True):
        row[list(result.target_blocks)] = np.arange(1, len(result.target_blocks) + 1)

    def column(values: list[Any], kind: type) -> Any:
        return np.array([[value] for value in values], kind)

    columns = {
        "label": column([result.label.encode() for result in results], object),
        "index": column([result.index for result in results], np.int32),
        "probability": column([result.probability for result in results], np.float32),
        "stage": column([result.stage.encode() for result in results], object),
        "confidence": column([result.confidence for result in results], np.float32),
        "target_map": maps.reshape(-1, grid, grid),
        "ee_ms": column([result.ee_ms for result in results], np.float32),
        "sac_ms": column([np.nan if result.sac_ms is None else result.sac_ms for result in results], np.float32),
    }
    return [pb_utils.Tensor(name, array) for name, array in columns.items()]
