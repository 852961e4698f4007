"""The gate as a model of Triton's Python backend: `sacvit` of a repository that sacvit-serve wrote.

It runs in the server's stub process, one per instance.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from ..bundle.errors import SacvitError, UsageError
from ..images.opencv import silence_opencv
from ..machine.processor import physical_cores
from ..runtime.chain.gate import Gate
from ..runtime.chain.pipeline import Pipeline
from ..runtime.chain.result import Result
from ..runtime.engines.backends import backend_of
from ..runtime.engines.pairs import find_pair
from .batcher import Asked, BusyError, Chain
from .description import EE_MODEL, OUTPUTS, SAC_MODEL, STAGE_NUMBERS, About
from .gate import EachGate
from .metrics import Metrics
from .requests import Fill, fills_of, threshold_of
from .stages import ServerStage

logger = logging.getLogger(__name__)


class TritonPythonModel:
    """The class that Triton calls: `initialize` once per instance, `execute` for every batch of requests."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the engines and runs them once, or finds the models that serve them. Raises an error if either fails."""
        ours = logging.getLogger(__name__.partition(".")[0])
        ours.handlers, ours.propagate = [TritonLog()], False
        ours.setLevel(logging.INFO)
        silence_opencv()  # it would log a line for each damaged picture of a client
        self.about = About.from_config(
            args["model_config"], "this model was not written by sacvit-serve, or its config is damaged"
        )
        if self.about.stages:
            ee, sac = map(ServerStage, (EE_MODEL, SAC_MODEL), self.about.stages)
            pipeline = Pipeline(ee, sac, self.about.threshold)
            pipeline.labels = self.about.labels
        else:
            pipeline = self._loaded(args)
        pipeline.reserve(self.about.max_batch)
        if not self.about.stages:  # models of the server may not be ready yet, and have their own warm-up requests
            pipeline.gate = Gate(1.0)  # both stages run, and NaN raises
            pipeline.run(1)
        self.metrics = Metrics(args["model_name"], args["model_version"], args["model_instance_name"])
        gate = EachGate(self.about.threshold, self.about.temperature)
        self.chain = Chain(pipeline, gate, self.metrics, self.about.max_batch, self.about.max_queue)

    def execute(self, requests: Sequence[Any]) -> None:
        """Answers each request through its own sender: an exit does not wait for SAC.

        All are sent from this thread and before this returns: a later answer can end the server (2.51: SIGSEGV in its
        Python backend).
        """
        self.chain.serve([Asked(self._client(request), partial(self._read, request)) for request in requests])

    def _client(self, request: Any) -> TritonClient:
        return TritonClient(request.get_response_sender(), self.metrics, self.about)

    def _read(self, request: Any) -> tuple[list[Fill], float]:
        pictures = pb_utils.get_input_tensor_by_name(request, "image").as_numpy()
        try:
            threshold = threshold_of(request.parameters(), self.about.threshold)
        except ValueError as reason:  # Triton hands bytes over as they came
            raise UsageError(f"the parameters are no JSON in UTF-8: {reason}") from None
        return fills_of(pictures, self.about.preprocessing), threshold

    def finalize(self) -> None:
        self.chain.close()

    def _loaded(self, args: dict[str, str]) -> Pipeline:
        """The engines that lie beside model.py. Instances on a CPU share its cores."""
        folder = Path(args["model_repository"]) / args["model_version"]
        instances = sum(group["count"] for group in json.loads(args["model_config"])["instance_group"])
        ee, sac, _ = find_pair(folder)
        return Pipeline.load(
            ee,
            sac,
            self.about.threshold,
            "auto" if backend_of(ee).needs_gpu or args["model_instance_kind"] == "GPU" else "cpu",
            threads=max(1, (physical_cores() or 1) // instances),
        )


class TritonClient:
    """See `chain.Client`: a request's sender."""

    def __init__(self, sender: Any, metrics: Metrics, about: About) -> None:
        self.sender, self.metrics, self.about = sender, metrics, about

    def answer(self, results: list[Result]) -> None:
        response = pb_utils.InferenceResponse(tensors_of(results, self.about))
        self.metrics.requests["answered"].increment(1)
        self._send(response)

    def fail(self, reason: Exception) -> None:
        """Sends an error to this client only. Errors that are not the client's fault go into the server's log too."""
        codes, text = pb_utils.TritonError, str(reason)
        if isinstance(reason, BusyError):
            outcome, code = "busy", codes.UNAVAILABLE
        elif isinstance(reason, SacvitError) and reason.exit_code in (1, 2):
            outcome, code = "refused", codes.INVALID_ARG
        else:
            outcome, code = "failed", codes.INTERNAL
            if isinstance(reason, SacvitError):
                logger.error("A request failed: %s", text)
            else:  # a defect of sacvit: its text is of no use to a client
                logger.error("A request failed for a reason that was not expected", exc_info=reason)
                text = "the server could not answer this request. The reason is in the server's log"
        self.metrics.requests[outcome].increment(1)
        self._send(pb_utils.InferenceResponse(error=codes(text, code)))

    def _send(self, response: Any) -> None:
        self.sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


class TritonLog(logging.Handler):
    """Writes our log records into the server's log."""

    def emit(self, record: logging.LogRecord) -> None:
        server = pb_utils.Logger
        if record.levelno >= logging.ERROR:
            write = server.log_error
        else:
            write = server.log_warn if record.levelno >= logging.WARNING else server.log_info
        write(self.format(record))


def tensors_of(results: list[Result], about: About) -> list[pb_utils.Tensor]:
    """The answer to a request: a row for each image."""
    rows = [_values(result, about) for result in results]
    return [
        pb_utils.Tensor(name, np.array([row[name] for row in rows], kind).reshape(-1, *about.shapes[name]))
        for name, kind in OUTPUTS.items()
    ]


def _values(result: Result, about: About) -> dict[str, Any]:
    ranks = np.zeros(about.grid**2, np.int32)
    ranks[list(result.target_blocks)] = np.arange(1, len(result.target_blocks) + 1)
    return {
        "label": np.frombuffer(result.label.encode().ljust(about.shapes["label"][0], b"\0"), np.uint8),
        "index": result.index,
        "probability": result.probability,
        "stage": STAGE_NUMBERS[result.stage],
        "confidence": result.confidence,
        "target_map": ranks,
        "ee_ms": result.ee_ms,
        "sac_ms": result.sac_ms or 0.0,
    }
