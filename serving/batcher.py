"""Answers the requests that Triton hands over together: in batches through EE, exits first, survivors through SAC.

Triton's batcher hands over everything that waits. Requests beyond the queue's limit are refused at once, so that accepted
ones wait for a bounded time. Triton's own queue policies could refuse too, but each of them stops its batcher for half a
second at a time (issue 8870 of triton-inference-server/server): 12 answers per second instead of 200.

A fault affects only its own request: a picture that cannot be decoded, an image for which an engine computes NaN, and a client
that cannot be reached fail alone. Only an engine that raises fails all requests of its batch that are not answered yet.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ..bundle.errors import EngineError, SacvitError, UsageError
from ..bundle.preprocess import ImageU8
from ..runtime.chain.pipeline import Pipeline
from ..runtime.chain.result import Result
from .gate import EachGate
from .requests import Fill

DECODERS = 2
logger = logging.getLogger(__name__)


class BusyError(SacvitError):
    """The queue is full: the client should try again later."""


class Client(Protocol):
    """Waits for an answer. One of the two methods is called once; `fail` also follows when `answer` raised."""

    def answer(self, results: list[Result]) -> None: ...

    def fail(self, reason: Exception) -> None: ...


class Observer(Protocol):
    """Counts images, batches and times."""

    def answered(self, stage: str, images: int, elapsed_ms: float) -> None:
        """Notes that a stage answered `images` images, `elapsed_ms` after they were handed over."""

    def batch(self, images: int, survivors: int, ee_ms: float, sac_ms: float) -> None: ...

    def waiting(self, images: int) -> None:
        """Notes that `images` images were handed over and are not answered yet."""


@dataclass
class Asked:
    """A request. read: gives a `Fill` for each of its pictures, and their eta; raises an error for a request that is wrong."""

    client: Client
    read: Callable[[], tuple[list[Fill], float]]
    fills: list[Fill] = field(default_factory=list)
    threshold: float = 0.0
    views: list[ImageU8] = field(default_factory=list)
    decoded: list[Future[None]] = field(default_factory=list)
    first: int = 0  # place of its first image in the batch
    results: dict[int, Result] = field(default_factory=dict)  # so far, by their places in the batch
    is_done: bool = False

    @property
    def places(self) -> range:
        return range(self.first, self.first + len(self.fills))

    def answer(self) -> None:
        self.is_done = True
        try:
            self.client.answer([self.results[place] for place in self.places])
        except Exception as reason:  # the client is gone, or its answer cannot be written: continue with the others
            self.fail(reason)

    def fail(self, reason: Exception) -> None:
        self.is_done = True
        try:
            self.client.fail(reason)
        except Exception as gone:
            logger.warning("A client could not be reached (%s). Its answer was: %s", gone, reason)


class Chain:
    """A pipeline for requests. max_batch: images per pass, and per request; max_queue: images that may wait at once."""

    def __init__(self, pipeline: Pipeline, gate: EachGate, observer: Observer, max_batch: int, max_queue: int) -> None:
        self._pipeline, self._gate, self._observer = pipeline, gate, observer
        pipeline.gate = gate
        self._max_batch, self._max_queue = max_batch, max_queue
        self._pool = ThreadPoolExecutor(DECODERS, "decode")

    def serve(self, requests: list[Asked]) -> None:
        """Answers or refuses every request before it returns."""
        began = time.perf_counter()
        left = self._admitted(requests)
        waiting = sum(len(one.fills) for one in left)
        while left:
            self._observer.waiting(waiting)
            batch = [left.pop(0)]
            while left and sum(len(one.fills) for one in batch) + len(left[0].fills) <= self._max_batch:
                batch.append(left.pop(0))
            waiting -= sum(len(one.fills) for one in batch)
            ready = [one for one in batch if _is_decoded(one)]
            try:
                if ready:
                    self._answer(ready, began)
            except Exception as reason:  # from an engine: whatever it is, the next batch is served
                for one in ready:
                    if not one.is_done:
                        one.fail(reason)
        self._observer.waiting(0)

    def close(self) -> None:
        self._pool.shutdown()

    def _admitted(self, requests: list[Asked]) -> list[Asked]:
        """The requests that fit into the queue; decoding of their pictures has begun. The others are refused."""
        size, count = self._pipeline.preprocessing.image_size, 0
        admitted = []
        for one in requests:
            try:
                if count >= self._max_queue:  # before its tensors are read: refusing must be cheap
                    raise BusyError(f"busy: {self._max_queue} images are waiting. Come back later")
                one.fills, one.threshold = one.read()
                if not 1 <= len(one.fills) <= self._max_batch:
                    raise UsageError(f"send 1 to {self._max_batch} images per request, found {len(one.fills)}")
                one.views = [np.empty((size, size, 3), np.uint8) for _ in one.fills]
                one.decoded = [self._pool.submit(fill, view) for fill, view in zip(one.fills, one.views, strict=True)]
            except Exception as reason:  # whatever is wrong with a client's bytes, continue with the others
                one.fail(reason)
                continue
            count += len(one.fills)
            admitted.append(one)
        return admitted

    def _answer(self, batch: list[Asked], began: float) -> None:
        count = sum(len(one.fills) for one in batch)
        slots = self._pipeline.image_slots(count)
        thresholds: list[float] = []
        for one in batch:
            one.first = len(thresholds)
            thresholds += [one.threshold] * len(one.fills)
            for place, view in zip(one.places, one.views, strict=True):
                slots[place] = view
        self._gate.expect(thresholds)
        track = self._pipeline.track(count)
        track.start(count)
        track.decide(self._gate)
        self._refuse(batch, "EE", self._gate.broken)
        self._give(batch, "EE", self._pipeline.exits(track), began)
        track.go_on()
        track.finish()
        self._gate.check(track.sac_logits[: track.survivors], track.row)
        self._refuse(batch, "SAC", self._gate.broken)
        self._give(batch, "SAC", self._pipeline.survivors(track), began)
        self._observer.batch(count, track.survivors, track.ee_ms, track.sac_ms)

    def _give(self, batch: list[Asked], stage: str, results: dict[int, Result], began: float) -> None:
        """Gives results to their requests, and answers those that are complete."""
        if results:
            self._observer.answered(stage, len(results), 1e3 * (time.perf_counter() - began))
        for one in batch:
            mine = {place: results[place] for place in one.places if place in results}
            if mine and not one.is_done:
                one.results |= mine
                if len(one.results) == len(one.fills):
                    one.answer()

    def _refuse(self, batch: list[Asked], stage: str, broken: Collection[int]) -> None:
        """Fails the requests of the images for which a stage computed NaN."""
        for one in batch:
            numbers = [str(place - one.first) for place in one.places if place in broken]
            if numbers and not one.is_done:
                one.fail(EngineError(f"the {stage} engine computes NaN for image {', '.join(numbers)} of this request"))


def _is_decoded(one: Asked) -> bool:
    """Whether all pictures of a request were decoded; the request fails if one was not."""
    try:
        for future in one.decoded:
            future.result()
        return True
    except Exception as reason:
        one.fail(reason)
        return False
