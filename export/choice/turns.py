"""A candidate in a process of its own that runs passes when it is asked to. Its start is timed: process to first result.

The parent writes a line for each turn, the child answers with one: see `Turns`, and `main` for the child's side.
"""

from __future__ import annotations

import json
import os
import select
import statistics
import subprocess
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...bundle.errors import PlanError
from ...machine.jetson import process_memory_mib
from ..plans.child import how_it_ended, start_worker

if TYPE_CHECKING:
    from ...bundle.preprocess import ImageU8

ANSWER_S = 120.0  # for a turn, and for the start: TensorRT's provider of ONNX Runtime builds an engine for minutes
START_S = 900.0
TURN_S = 0.15  # of passes of each stage; at least one
MOST_PASSES = 50


class Turns:
    """The parent's side: a candidate that is loaded and waits. A context manager, which ends the process.

    start_s: from the start of the process to the first result.
    """

    def __init__(self, name: str, spec: dict[str, Any]) -> None:
        self.name = name
        asks, self._to_child = os.pipe()
        self._from_child, answers = os.pipe()
        began = time.perf_counter()
        try:
            self._process = start_worker(
                __name__, str(asks), str(answers), json.dumps({**spec, "parent": os.getpid()}), pass_fds=(asks, answers)
            )
        finally:
            os.close(asks)
            os.close(answers)
        self._pending = b""
        try:
            self._answer(START_S)
        except BaseException:
            self.close()
            raise
        self.start_s = time.perf_counter() - began

    def turn(self, batch: int, survivors: int) -> dict[str, float]:
        """Median milliseconds of a pass of each stage, and the most memory so far: ee_ms, sac_ms, peak_mib.

        Raises PlanError when the process ended or does not answer.
        """
        try:
            os.write(self._to_child, json.dumps({"batch": batch, "survivors": survivors}).encode() + b"\n")
        except BrokenPipeError:
            raise self._ended() from None
        return self._answer(ANSWER_S)

    def _answer(self, most_s: float) -> dict[str, Any]:
        until = time.monotonic() + most_s
        while b"\n" not in self._pending:
            ready, _, _ = select.select([self._from_child], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise PlanError(f"{self.name} did not answer in {most_s:.0f} s")
            piece = os.read(self._from_child, 1 << 16)
            if not piece:
                raise self._ended()
            self._pending += piece
        line, _, self._pending = self._pending.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if "fault" in answer:
            raise PlanError(answer["fault"])
        return answer

    def _ended(self) -> PlanError:
        return PlanError(how_it_ended("time", self.name, self._process.wait()))

    def close(self) -> None:
        os.close(self._to_child)
        os.close(self._from_child)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Turns:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def main(asks: str, answers: str, text: str) -> None:
    """The child's side: loads a candidate, answers one image, then runs a turn for each line until the pipe is closed."""
    from ..plans.worker import end_with_parent, ignore_interrupts

    spec = json.loads(text)
    ignore_interrupts()
    end_with_parent(spec["parent"])
    with os.fdopen(int(asks), "r") as lines, os.fdopen(int(answers), "w", buffering=1) as out:
        try:
            passes = Passes(spec)
            print("{}", file=out)
            for line in lines:
                print(json.dumps(passes.turn(**json.loads(line))), file=out)
        except Exception as fault:  # backends raise what they like; the parent keeps the reason
            print(json.dumps({"fault": f"{type(fault).__name__}: {fault}"}), file=out)


class Passes:
    """A pipeline whose stages run one at a time, on reference images."""

    def __init__(self, spec: dict[str, Any]) -> None:
        from ...runtime.chain.pipeline import Pipeline

        self.folder = Path(spec["folder"])
        self.pipeline = Pipeline.load(spec["ee"], spec["sac"], 1.0, spec["provider"] or "auto")
        self.pipeline.image_slots(1)[:] = 128
        self.pipeline.run(1)

    @cached_property
    def images(self) -> ImageU8:
        """The reference images: read behind the first result, whose time is measured."""
        from ...bundle.goldens import read_goldens

        return read_goldens(self.folder).images

    def turn(self, batch: int, survivors: int) -> dict[str, float]:
        """See `Turns.turn`."""
        from ...runtime.chain.track import places_for

        slots = self.pipeline.image_slots(batch)
        for place in range(batch):
            slots[place] = self.images[place % len(self.images)]
        track = self.pipeline.track(batch)
        track.row[:survivors] = range(survivors)
        stages = {
            "ee_ms": track.ee_binding(places_for(batch, self.pipeline.ee.batches)),
            "sac_ms": track.sac_binding(places_for(survivors, self.pipeline.sac.batches)),
        }
        return {**{name: time_passes(binding) for name, binding in stages.items()}, "peak_mib": peak_mib()}


def time_passes(binding: Any) -> float:
    """The median milliseconds of passes for TURN_S, behind one that does not count."""
    time_pass(binding)
    times = [time_pass(binding)]
    while sum(times) < 1e3 * TURN_S and len(times) < MOST_PASSES:
        times.append(time_pass(binding))
    return statistics.median(times)


def time_pass(binding: Any) -> float:
    """Milliseconds of one pass, from its start to its end."""
    began = time.perf_counter()
    binding.start()
    binding.wait()
    return 1e3 * (time.perf_counter() - began)


def peak_mib() -> float:
    """The most memory that this process has held so far; 0 where Linux does not say."""
    found = process_memory_mib()
    return 0.0 if found is None else found[1]
