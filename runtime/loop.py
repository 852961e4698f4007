"""The loop of sacvit-run: frames from a source, through the pipeline, into the sinks."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from tqdm import tqdm

from ..bundle.preprocess import ImageU8, Preprocessing
from .chain.drift import Drift
from .chain.gate import Gate
from .chain.live_gate import LiveGate
from .chain.overlap import Overlap
from .chain.pipeline import Pipeline, Result
from .sinks.overlay import Running
from .sinks.sink import Answer, Quit, Sink
from .sources.frame import Frame, Source
from .sources.several import Several
from .totals import RunStatistics

PROBES = 8  # of SAC before a run with a deadline
WATCHED_S = 1.0  # between frames of a camera that tell whether it has changed
PLAIN_PROGRESS_S = 10.0  # between progress lines where there is no terminal


class Chain(Protocol):
    """What answers a batch: a `Pipeline` here, or a server's chain (serving/client.py)."""

    preprocessing: Preprocessing
    gate: Gate

    @property
    def grid(self) -> int: ...

    @property
    def threshold(self) -> float: ...

    def image_slots(self, count: int) -> ImageU8:
        """The input (count, S, S, 3) of the next pass."""

    def run(self, count: int) -> list[Result]:
        """The answers for the images in `image_slots(count)`, in order."""


@dataclass
class Outcome:
    """How a run ended. `summary` holds the statistics, `faults` what was skipped or missing."""

    summary: dict[str, Any]
    faults: list[str]
    interrupted: bool


def run_chain(
    pipeline: Chain,
    source: Source,
    sinks: Sequence[Sink],
    *,
    num_frames: int | None = None,
    batch: int = 1,
    overlap: bool = False,
) -> Outcome:
    """Classifies every frame of the source, or the first `num_frames`, in batches of `batch`.

    overlap: EE of a batch runs beside SAC of the one before it; answers come one batch late.

    Ctrl-C, and a Quit from a sink, end the run cleanly: what was classified stays, sinks are closed, the summary counts
    what was done.
    """
    statistics = RunStatistics()
    watch = Watch(source.live) if isinstance(pipeline.gate, LiveGate) and pipeline.gate.shadow else None
    interrupted = False
    began = time.perf_counter()
    progress = Progress(source, num_frames)
    try:
        chain = Overlap(pipeline) if overlap and isinstance(pipeline, Pipeline) else pipeline
        if (
            isinstance(pipeline, Pipeline)
            and isinstance(pipeline.gate, LiveGate)
            and pipeline.gate.deadline_ms is not None
        ):
            pipeline.run(1)  # what lies in the buffer: for the probes to have a hand-off, and SAC its first pass
            pipeline.gate.forget()
            for _ in range(PROBES):
                pipeline.probe()
        taken = rounds(source, num_frames) if isinstance(source, Several) else batches(source, num_frames, batch)
        for answer in answers(chain, pipeline, taken, source, statistics, watch):
            for sink in sinks:
                sink.write(answer)
            progress.step(answer.running)
    except KeyboardInterrupt:
        interrupted = True
    except Quit:
        pass
    finally:
        duration_s = time.perf_counter() - began
        with ExitStack() as ends:  # each is closed, whatever another one raises
            for sink in sinks:
                ends.callback(sink.close)
            ends.callback(progress.close)
            ends.callback(source.close)
    summary = statistics.summary(duration_s) | {"dropped": source.dropped, "skipped": len(source.faults)}
    summary["drift"] = [] if watch is None else watch.alarms
    return Outcome(summary, list(source.faults), interrupted)


def batches(source: Source, num_frames: int | None, batch: int) -> Iterator[list[Frame]]:
    """The source's frames in lists of at most `batch`."""
    frames = itertools.islice(source, num_frames)
    while taken := list(itertools.islice(frames, batch)):
        yield taken


def rounds(source: Several, num_frames: int | None) -> Iterator[list[Frame]]:
    """What every stream has, round by round, up to `num_frames` in all."""
    left = num_frames
    for frames in source.rounds():
        taken = frames if left is None else frames[:left]
        yield taken
        left = None if left is None else left - len(taken)
        if left == 0:
            return


class Watch:
    """Tells once when the exit rate, or SAC's agreement with sure answers, is no longer what it was."""

    def __init__(self, is_live: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_s, self._clock = WATCHED_S if is_live else 0.0, clock
        self._last: dict[int, float] = {}
        self.exits, self.agreement = Drift("the exit rate"), Drift("SAC's agreement with exits")
        self.alarms: list[str] = []

    def observe(self, stream: int, result: Result) -> None:
        """One frame; of a camera one a second counts, since its neighbours look the same."""
        told = None if result.agreed is None else self.agreement.observe(result.agreed)
        now = self._clock()
        if now - self._last.get(stream, -1e9) >= self._every_s:
            self._last[stream] = now
            told = self.exits.observe(result.exits_early and not result.degraded) or told
        if told is not None:
            self.alarms.append(told)
            print(f"drift: {told}: look at the camera, or tune again (sacvit-tune)", file=sys.stderr)


@dataclass
class Prepared:
    """Frames in their slots, and what it took to put each there."""

    frames: list[Frame]
    slots: ImageU8
    spent_ms: list[float]


def answers(
    chain: Chain | Overlap,
    pipeline: Chain,
    taken: Iterable[list[Frame]],
    source: Source,
    statistics: RunStatistics,
    watch: Watch | None = None,
) -> Iterator[Answer]:
    """An answer for every frame, in order; adds each to the statistics."""
    waiting: Prepared | None = None
    gate = pipeline.gate
    for frames in taken:
        if isinstance(gate, LiveGate):
            gate.begin([frame.stream for frame in frames], min(frame.taken_s for frame in frames))
        prepared = prepare(chain.image_slots(len(frames)), frames, pipeline.preprocessing)
        if not isinstance(chain, Overlap):
            yield from told(prepared, chain.run(len(frames)), pipeline, source, statistics, watch)
            if isinstance(pipeline, Pipeline) and isinstance(gate, LiveGate) and gate.wants_probe:
                pipeline.probe()
            continue
        results = chain.submit(len(frames))
        if waiting is not None:
            yield from told(waiting, results, pipeline, source, statistics, watch)
        waiting = prepared
    if waiting is not None and isinstance(chain, Overlap):
        yield from told(waiting, chain.flush(), pipeline, source, statistics, watch)


def prepare(slots: ImageU8, frames: list[Frame], preprocessing: Preprocessing) -> Prepared:
    spent_ms = []
    for slot, frame in zip(slots, frames, strict=True):
        began = time.perf_counter()
        preprocessing.apply(frame.image, slot)
        spent_ms.append(1e3 * (time.perf_counter() - began))
    return Prepared(frames, slots, spent_ms)


def told(
    prepared: Prepared,
    results: list[Result],
    pipeline: Chain,
    source: Source,
    statistics: RunStatistics,
    watch: Watch | None,
) -> Iterator[Answer]:
    parts = zip(prepared.frames, prepared.slots, prepared.spent_ms, results, strict=True)
    for frame, view, spent_ms, result in parts:
        age_ms = 1e3 * (time.monotonic() - frame.taken_s)
        statistics.add(spent_ms, age_ms, result, frame.stream)
        if watch is not None:
            watch.observe(frame.stream, result)
        frame_ms = spent_ms + result.ee_ms + (result.sac_ms or 0.0)
        yield Answer(
            frame=frame,
            result=result,
            view=view,
            region=pipeline.preprocessing.region(*frame.image.shape[:2]),
            grid=pipeline.grid,
            threshold=pipeline.threshold,
            prepare_ms=spent_ms,
            age_ms=age_ms,
            running=Running(statistics.exit_rate, frame_ms, source.dropped),
        )


class Progress:
    """A bar on a terminal for sources that end, a line now and then elsewhere; nothing for cameras."""

    def __init__(self, source: Source, num_frames: int | None) -> None:
        self.total = num_frames if source.total is None else min(source.total, num_frames or source.total)
        terminal = sys.stderr.isatty() and not source.live
        self._bar = tqdm(total=self.total, unit="frame", leave=False, disable=not terminal)
        self._lines = not terminal and not source.live
        self._done, self._told = 0, time.monotonic()

    def step(self, running: Running) -> None:
        self._done += 1
        self._bar.update()
        if self._lines and time.monotonic() - self._told > PLAIN_PROGRESS_S:
            self._told = time.monotonic()
            total = f" of {self.total}" if self.total else ""
            print(f"{self._done}{total} frames, {running.exit_rate:.0%} exits", file=sys.stderr)

    def close(self) -> None:
        self._bar.close()
