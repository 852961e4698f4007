"""Throughput mode: EE of one batch beside SAC of the batch before it, on two streams.

Two sets of buffers, and scratch memory for each stage: about twice the memory of a `Pipeline`. A result comes one batch
late, so this is for files and busy streams, not for the lowest latency.
"""

from __future__ import annotations

from ...bundle.errors import UsageError
from ...bundle.preprocess import ImageU8
from .pipeline import Pipeline
from .result import Result
from .track import Track


class Overlap:
    """Takes a pipeline's batches in turns: fill `image_slots(count)`, then `submit(count)`; `flush` at the end."""

    def __init__(self, pipeline: Pipeline) -> None:
        ee, sac = pipeline.ee, pipeline.sac
        if ee.capacity is None or not ee.device.overlaps:
            raise UsageError(f"stages overlap on a GPU, with .plan engines; {ee.path} runs on {ee.backend}")
        self._pipeline = pipeline
        # Contexts that may run at once must not share scratch memory: each stage has a lane, and so memory, of its own.
        lanes = ee.device.lanes([ee.scratch_bytes, sac.scratch_bytes])
        self._tracks = [Track(ee, sac, ee.capacity, lanes, pipeline.also_reads).bind_all() for _ in range(2)]
        self._turn = 0
        self._before: Track | None = None

    def image_slots(self, count: int) -> ImageU8:
        """The input (count, S, S, 3) of the next batch. The previous batch's images stay as they are meanwhile."""
        track = self._tracks[self._turn]
        if not 1 <= count <= track.capacity:
            raise UsageError(f"this engine takes 1 to {track.capacity} images per pass, found {count}")
        return track.images[:count]

    def submit(self, count: int) -> list[Result]:
        """Starts the batch in `image_slots(count)`. Returns the results of the batch before it, [] at first."""
        track = self._tracks[self._turn]
        track.start(count)
        results = self.flush()
        track.gate(self._pipeline.gate)
        self._before = track
        self._turn = 1 - self._turn
        return results

    def flush(self) -> list[Result]:
        """Returns the results of the last batch."""
        if self._before is None:
            return []
        track, self._before = self._before, None
        track.finish()
        return self._pipeline.results(track)
