"""The loop of sacvit-run: frames from a source, through the pipeline, into the sinks."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from ..bundle.preprocess import ImageU8, Preprocessing
from ..machine.interrupts import interrupts_held_back, raise_held_back
from ..machine.progress import Progress
from .chain.gate import Gate
from .chain.overlap import Overlap
from .chain.pipeline import Pipeline
from .chain.result import Result
from .options import LoopOptions
from .sinks.overlay import Running
from .sinks.sink import Answer, Quit, Sink
from .sources.frame import Frame, Source
from .sources.several import Several
from .totals import RunStatistics
from .watch import Watch

PROBES = 8  # of SAC before a run with a deadline


class Chain(Protocol):
    """What answers a batch: a `Pipeline` here, or a server's chain (serving/client.py)."""

    preprocessing: Preprocessing

    @property
    def gate(self) -> Gate: ...

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
    options: LoopOptions = LoopOptions(),  # noqa: B008  # frozen
    on_drift: Callable[[str], None] | None = None,
    between_frames: Callable[[], None] | None = None,
) -> Outcome:
    """Classifies every frame of the source, or the first so many, in batches.

    Ctrl-C, and a Quit from a sink, end the run cleanly: what was classified stays, sinks are closed, the summary counts
    what was done. A stop waits for the answer that is being written, and a second one ends what hangs.
    on_drift: takes the text of each alarm; without it, drift is watched where the gate has shadows.
    between_frames: called before each pass, and every WAIT_S while the source gives no frame. It may change the gate and the
    sinks.
    """
    statistics = RunStatistics()
    watch = Watch(source.live, on_drift=on_drift) if pipeline.gate.shadow or on_drift else None
    interrupted = False
    began = time.perf_counter()
    num_frames = options.num_frames
    total = num_frames if source.total is None else min(source.total, num_frames or source.total)
    progress = Progress("classify", total, "frame", is_shown=not source.live)

    def pause() -> None:
        raise_held_back()
        if between_frames is not None:
            between_frames()

    try:
        chain = Overlap(pipeline) if options.overlap and isinstance(pipeline, Pipeline) else pipeline
        if isinstance(pipeline, Pipeline) and pipeline.gate.wants_warm_up:
            pipeline.run(1)  # over any content: the probes need a hand-off, and SAC a first pass
            pipeline.gate.forget()
            for _ in range(PROBES):
                pipeline.probe()
        taken = (
            rounds(source, num_frames) if isinstance(source, Several) else batches(source, num_frames, options.batch)
        )
        source.call_while_waiting(pause)
        with interrupts_held_back():  # sources and sinks share queues and locks with their threads
            for answer in answers(chain, pipeline, each_after(taken, pause), source, statistics, watch):
                for sink in sinks:
                    sink.write(answer)
                progress.step(note=f"{answer.running.exit_rate:.0%} exits")
                raise_held_back()
    except KeyboardInterrupt:
        interrupted = True
    except Quit:
        pass
    finally:
        duration_s = time.perf_counter() - began
        with ExitStack() as ends:  # each one is closed, even if another raises
            for sink in sinks:
                ends.callback(sink.close)
            ends.callback(progress.close)
            ends.callback(source.close)
    summary = statistics.summary(duration_s) | {"dropped": source.dropped, "skipped": len(source.faults)}
    summary["drift"] = [] if watch is None else watch.alarms
    faults = list(source.faults)
    if not statistics.frames and not interrupted and not faults:
        faults.append("the source gave no frame")  # a run without a frame is no success
    return Outcome(summary, faults, interrupted)


def batches(source: Source, num_frames: int | None, batch: int) -> Iterator[list[Frame]]:
    """The source's frames in lists of at most `batch`."""
    frames = itertools.islice(source, num_frames)
    while taken := list(itertools.islice(frames, batch)):
        yield taken


def rounds(source: Several, num_frames: int | None) -> Iterator[list[Frame]]:
    """The frames that the streams have, round by round, up to `num_frames` in all."""
    left = num_frames
    for frames in source.rounds():
        taken = frames if left is None else frames[:left]
        yield taken
        left = None if left is None else left - len(taken)
        if left == 0:
            return


def each_after(taken: Iterable[list[Frame]], call: Callable[[], None]) -> Iterator[list[Frame]]:
    """The same lists, each given on after a call."""
    for frames in taken:
        call()
        yield frames


@dataclass
class Prepared:
    """Frames in their slots, and the time it took to put each there."""

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
    for frames in taken:
        pipeline.gate.begin([frame.stream for frame in frames], min(frame.taken_s for frame in frames))
        prepared = prepare(chain.image_slots(len(frames)), frames, pipeline.preprocessing)
        if not isinstance(chain, Overlap):
            yield from answered(prepared, chain.run(len(frames)), pipeline, source, statistics, watch)
            if isinstance(pipeline, Pipeline) and pipeline.gate.wants_probe:
                pipeline.probe()
            continue
        results = chain.submit(len(frames))
        if waiting is not None:
            yield from answered(waiting, results, pipeline, source, statistics, watch)
        waiting = prepared
    if waiting is not None and isinstance(chain, Overlap):
        yield from answered(waiting, chain.flush(), pipeline, source, statistics, watch)


def prepare(slots: ImageU8, frames: list[Frame], preprocessing: Preprocessing) -> Prepared:
    spent_ms = []
    for slot, frame in zip(slots, frames, strict=True):
        began = time.perf_counter()
        preprocessing.apply(frame.image, slot)
        spent_ms.append(1e3 * (time.perf_counter() - began))
    return Prepared(frames, slots, spent_ms)


def answered(
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
