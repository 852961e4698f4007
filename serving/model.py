"""The gate as a model of Triton's Python backend: `sacvit` of a repository that sacvit-serve wrote.

Runs in the server's stub process. A batch of requests goes through EE; images that exit are answered there and then, and
the survivors go on to SAC together.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from ..bundle.errors import SacvitError
from ..bundle.preprocess import ImageU8
from ..runtime.pipeline import Pipeline, Result
from .about import About
from .gate import EachGate
from .metrics import Metrics
from .requests import Fill, fills_of, threshold_of
from .stages import ServerStage

EE_MODEL, SAC_MODEL = "sacvit_ee", "sacvit_sac"
OUTPUTS = ("label", "index", "probability", "stage", "confidence", "target_map", "ee_ms", "sac_ms")


@dataclass
class Asked:
    """A request of a batch: which images are its own, and what they were answered so far."""

    request: Any
    fills: list[Fill]
    threshold: float
    first: int = 0  # of its images in the batch
    results: dict[int, Result] = field(default_factory=dict)  # by their places in the batch

    @property
    def places(self) -> range:
        return range(self.first, self.first + len(self.fills))


class TritonPythonModel:
    """What Triton calls: `initialize` once an instance, `execute` for every batch of requests."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the engines, or learns where they are served, and runs both once. Raises what is wrong with them."""
        config = json.loads(args["model_config"])
        self.about = About.from_config(config)
        if self.about.stages:
            ee, sac = self.about.stages
            pipeline = Pipeline(ServerStage(EE_MODEL, ee), ServerStage(SAC_MODEL, sac), self.about.threshold)
        else:
            folder = Path(args["model_repository"]) / args["model_version"]
            instances = sum(group.get("count", 1) for group in config["instance_group"])
            threads = max(1, len(os.sched_getaffinity(0)) // instances)
            on_gpu = args["model_instance_kind"] == "GPU"
            plans = (folder / "ee.plan").is_file()
            names = ("ee.plan", "sac.plan") if plans else ("ee.onnx", "sac.onnx")
            pipeline = Pipeline.load(
                folder / names[0],
                folder / names[1],
                self.about.threshold,
                "auto" if on_gpu or plans else "cpu",
                threads=threads,
            )
            pipeline.reserve(config["max_batch_size"])
        self.gate = EachGate(self.about.threshold, self.about.temperature)
        pipeline.gate = self.gate
        self.pipeline = pipeline
        self.pool = ThreadPoolExecutor(2, "decode")
        self.metrics = Metrics(args["model_name"], args["model_version"])
        if not self.about.stages:  # served stages may not be ready yet; they have warm-up requests of their own
            self.gate.begin([2.0])  # nobody is that sure: SAC runs too
            pipeline.run(1)

    def execute(self, requests: Sequence[Any]) -> None:
        """Answers each request through its own sender: an exit does not wait for SAC."""
        began = time.perf_counter()
        asked = [taken for taken in map(self._take, requests) if taken is not None]
        asked = self._filled(asked)
        if not asked:
            return
        try:
            self._answer(asked, began)
        except Exception as reason:  # whatever an engine raises, each client is told, and the server goes on
            for one in asked:
                if len(one.results) < len(one.fills):
                    self._fail(one.request, reason)

    def finalize(self) -> None:
        self.pool.shutdown()

    def _take(self, request: Any) -> Asked | None:
        """A request that can be served; one that cannot is answered with the reason."""
        try:
            tensors = [pb_utils.get_input_tensor_by_name(request, name) for name in ("image", "encoded")]
            image, encoded = (None if tensor is None else tensor.as_numpy() for tensor in tensors)
            threshold = threshold_of(request.parameters(), self.about.threshold)
            return Asked(request, fills_of(image, encoded, self.about.preprocessing), threshold)
        except Exception as reason:
            self._fail(request, reason)
            return None

    def _filled(self, asked: list[Asked]) -> list[Asked]:
        """The requests whose pictures could be decoded, in slots from the first on."""
        size = self.about.preprocessing.image_size
        waiting = []
        for one in asked:
            views = [np.empty((size, size, 3), np.uint8) for _ in one.fills]
            pairs = zip(one.fills, views, strict=True)
            waiting.append((one, views, [self.pool.submit(fill, view) for fill, view in pairs]))
        kept: list[Asked] = []
        images: list[ImageU8] = []
        for one, views, futures in waiting:
            try:
                for future in futures:
                    future.result()
            except Exception as reason:
                self._fail(one.request, reason)
                continue
            one.first = len(images)
            images += views
            kept.append(one)
        if images:
            slots = self.pipeline.image_slots(len(images))
            for slot, image in zip(slots, images, strict=True):
                slot[:] = image
        return kept

    def _answer(self, asked: list[Asked], began: float) -> None:
        count = asked[-1].places.stop
        self.gate.begin([one.threshold for one in asked for _ in one.fills])
        track = self.pipeline.track(count)
        track.start(count)
        track.decide(self.gate)
        self._send(asked, self.pipeline.exits(track), began)
        track.go_on()
        track.finish()
        results = self.pipeline.results(track)
        left = {place: result for place, result in enumerate(results) if not result.exits_early}
        self._send(asked, left, began)
        self.metrics.batch.observe(count)
        self.metrics.survivors.observe(track.survivors)
        self.metrics.stages["EE"].observe(track.ee_ms)
        if track.survivors:
            self.metrics.stages["SAC"].observe(track.sac_ms)

    def _send(self, asked: list[Asked], results: dict[int, Result], began: float) -> None:
        """Gives results to their requests, and answers those that have all of theirs."""
        elapsed_ms = 1e3 * (time.perf_counter() - began)
        for result in results.values():
            self.metrics.images[result.stage].increment(1)
            self.metrics.paths[result.stage].observe(elapsed_ms)
        for one in asked:
            mine = {place: results[place] for place in one.places if place in results}
            if mine:
                one.results |= mine
                if len(one.results) == len(one.fills):
                    tensors = self._tensors([one.results[place] for place in one.places])
                    self._reply(one.request, pb_utils.InferenceResponse(tensors))
                    self.metrics.requests["answered"].increment(1)

    def _tensors(self, results: list[Result]) -> list[Any]:
        grid = self.about.grid
        maps = np.zeros((len(results), grid * grid), np.int32)
        for row, result in zip(maps, results, strict=True):
            row[list(result.target_blocks)] = np.arange(1, len(result.target_blocks) + 1)

        def texts(values: list[str]) -> Any:
            return np.array([[value.encode()] for value in values], object)

        columns = {
            "label": texts([result.label for result in results]),
            "index": np.array([[result.index] for result in results], np.int32),
            "probability": np.array([[result.probability] for result in results], np.float32),
            "stage": texts([result.stage for result in results]),
            "confidence": np.array([[result.confidence] for result in results], np.float32),
            "target_map": maps.reshape(-1, grid, grid),
            "ee_ms": np.array([[result.ee_ms] for result in results], np.float32),
            "sac_ms": np.array(
                [[np.nan if result.sac_ms is None else result.sac_ms] for result in results], np.float32
            ),
        }
        return [pb_utils.Tensor(name, columns[name]) for name in OUTPUTS]

    def _fail(self, request: Any, reason: Exception) -> None:
        """An error for this client alone: its own fault where we say so, ours where we did not expect it."""
        refused = isinstance(reason, SacvitError) and reason.exit_code in (1, 2)
        self.metrics.requests["refused" if refused else "failed"].increment(1)
        code = pb_utils.TritonError.INVALID_ARG if refused else pb_utils.TritonError.INTERNAL
        text = str(reason) if isinstance(reason, SacvitError) else f"{type(reason).__name__}: {reason}"
        self._reply(request, pb_utils.InferenceResponse(error=pb_utils.TritonError(text, code)))

    def _reply(self, request: Any, response: Any) -> None:
        request.get_response_sender().send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
