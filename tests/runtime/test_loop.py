from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from sacvit.machine.interrupts import stop_on
from sacvit.runtime.chain.live_gate import LiveGate
from sacvit.runtime.chain.pipeline import Pipeline
from sacvit.runtime.loop import run_chain
from sacvit.runtime.options import LoopOptions, VideoOptions
from sacvit.runtime.sinks.sink import Answer, Quit
from sacvit.runtime.sources.frame import Frame


class ListSource:
    """Frames from an array of RGB pictures; may raise after some of them."""

    live = False
    fps = None

    def __init__(self, pictures: np.ndarray, then: BaseException | None = None) -> None:
        self.pictures, self.then = pictures, then
        self.total: int | None = len(pictures)
        self.dropped = 0
        self.faults: list[str] = []
        self.closed = False

    def __iter__(self) -> Iterator[Frame]:
        for index, picture in enumerate(self.pictures):
            yield Frame(index, str(index), np.ascontiguousarray(picture[:, :, ::-1]))
        if self.then is not None:
            raise self.then

    def call_while_waiting(self, call) -> None:
        self.while_waiting = call

    def close(self) -> None:
        self.closed = True


class Collector:
    def __init__(self, quit_after: int | None = None) -> None:
        self.answers: list[Answer] = []
        self.views: list[np.ndarray] = []
        self.closed = 0
        self.quit_after = quit_after

    def write(self, answer: Answer) -> None:
        self.answers.append(answer)
        self.views.append(answer.view.copy())
        if len(self.answers) == self.quit_after:
            raise Quit

    def close(self) -> None:
        self.closed += 1


@pytest.fixture(scope="module")
def pipeline(bundles) -> Pipeline:
    chain = Pipeline.load(bundles / "bundle" / "ee.onnx", bundles / "bundle" / "sac.onnx")
    chain.use_fit("stretch")  # pictures of S x S then pass unchanged
    return chain


@pytest.mark.parametrize("batch", [1, 4, 7, 30])
def test_frames_are_answered_in_order_as_the_pipeline_answers_them(pipeline, pictures, batch):
    sink = Collector()
    run_chain(pipeline, ListSource(pictures), [sink], LoopOptions(batch=batch))
    assert [answer.frame.index for answer in sink.answers] == list(range(24))
    assert [answer.result.index for answer in sink.answers] == [result.index for result in pipeline(pictures)]


def test_the_view_is_what_the_network_saw(pipeline, pictures):
    sink = Collector()
    run_chain(pipeline, ListSource(pictures[:5]), [sink], LoopOptions(batch=2))
    assert (np.stack(sink.views) == pictures[:5]).all()


def test_num_frames_stops_exactly(pipeline, pictures):
    sink = Collector()
    outcome = run_chain(pipeline, ListSource(pictures), [sink], LoopOptions(num_frames=5, batch=4))
    assert len(sink.answers) == outcome.summary["frames"] == 5


def test_the_summary_counts_frames_and_exits(pipeline, pictures):
    outcome = run_chain(pipeline, ListSource(pictures), [])
    exits = sum(result.exits_early for result in pipeline(pictures))
    assert outcome.summary["frames"] == 24 and outcome.summary["exits"] == exits
    assert outcome.summary["stages"]["SAC"]["n"] == 24 - exits
    assert not outcome.interrupted


def test_a_threshold_that_is_set_between_frames_counts_from_the_next_pass_on(pipeline, pictures):
    thresholds = iter([1.0, 1.0, 0.0, 0.0])

    def between_frames() -> None:
        pipeline.gate.threshold = next(thresholds)

    sink, stored = Collector(), pipeline.threshold
    try:
        run_chain(pipeline, ListSource(pictures[:8]), [sink], LoopOptions(batch=2), between_frames=between_frames)
    finally:
        pipeline.threshold = stored
    assert [answer.result.stage for answer in sink.answers] == ["SAC"] * 4 + ["EE"] * 4
    assert next(thresholds, None) is None


def test_ctrl_c_keeps_what_was_done_and_closes_everything(pipeline, pictures):
    source, sink = ListSource(pictures[:6], then=KeyboardInterrupt()), Collector()
    outcome = run_chain(pipeline, source, [sink])
    assert outcome.interrupted and outcome.summary["frames"] == 6
    assert source.closed and sink.closed == 1


@pytest.fixture
def stop_signal():
    before = signal.getsignal(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    stop_on(signal.SIGUSR1)
    yield signal.SIGUSR1
    signal.signal(signal.SIGUSR1, before)


def test_a_stop_is_not_raised_inside_a_source_that_may_hold_a_lock(pipeline, pictures, stop_signal):
    class Stopped(ListSource):
        whole = False

        def __iter__(self) -> Iterator[Frame]:
            frames = super().__iter__()
            yield next(frames)
            signal.raise_signal(stop_signal)
            self.whole = True
            yield from frames

    source, sink = Stopped(pictures[:6]), Collector()
    outcome = run_chain(pipeline, source, [sink])
    assert source.whole and outcome.interrupted and outcome.summary["frames"] == 1


def test_a_stop_ends_a_source_that_waits_for_frames(pipeline, pictures, stop_signal):
    class Silent(ListSource):
        def __iter__(self) -> Iterator[Frame]:
            signal.raise_signal(stop_signal)
            self.while_waiting()
            pytest.fail("it was asked to wait on")
            yield

    assert run_chain(pipeline, Silent(pictures[:0]), []).interrupted


def test_an_answer_s_age_counts_from_when_its_frame_was_taken(pipeline, pictures):
    class Late(ListSource):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                yield replace(frame, taken_s=time.monotonic() - 10)

    sink = Collector()
    outcome = run_chain(pipeline, Late(pictures[:3]), [sink])
    assert all(answer.age_ms > 10_000 for answer in sink.answers)
    assert outcome.summary["frame"]["age"]["median_ms"] > 10_000


def test_a_deadline_counts_from_when_a_frame_was_taken(bundles, pictures):
    """Not from when the loop took it: frames that have waited for longer than the deadline have no time left for SAC."""

    class Late(ListSource):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                yield replace(frame, taken_s=time.monotonic() - 3600)

    chain = Pipeline.load(bundles / "bundle" / "ee.onnx", bundles / "bundle" / "sac.onnx", threshold=1.0)
    sink = Collector()
    chain.gate = LiveGate(1.0, video=VideoOptions(deadline_ms=1800e3))
    run_chain(chain, Late(pictures[:3]), [sink])
    assert [answer.result.degraded for answer in sink.answers] == [True] * 3


def test_the_first_frame_is_gated_as_if_nothing_had_been_before_it(bundles, pictures):
    """The warm-up's image exits here. If that were remembered, the doubtful first frame would exit too."""
    pipeline = Pipeline.load(bundles / "bundle" / "ee.onnx", bundles / "bundle" / "sac.onnx")
    pipeline.use_fit("stretch")
    results = sorted(zip(pipeline(pictures), range(len(pictures)), strict=True), key=lambda pair: pair[0].confidence)
    (doubtful, place), (sure, other) = results[0], results[-1]
    pipeline.image_slots(1)[0] = pictures[other]  # what the warm-up sees
    eta = (doubtful.confidence + sure.confidence) / 2  # 1 - confidence lies within a factor of 10
    pipeline.gate = LiveGate(eta, video=VideoOptions(hysteresis=10.0, deadline_ms=1e9))
    sink = Collector()
    run_chain(pipeline, ListSource(pictures[place : place + 1]), [sink])
    assert sink.answers[0].result.stage == "SAC"


def test_a_run_without_a_frame_has_a_fault(pipeline, pictures):
    assert run_chain(pipeline, ListSource(pictures[:0]), []).faults == ["the source gave no frame"]


def test_the_viewers_quit_is_a_normal_end(pipeline, pictures):
    sink = Collector(quit_after=3)
    outcome = run_chain(pipeline, ListSource(pictures), [sink])
    assert not outcome.interrupted and outcome.summary["frames"] == 3


def test_a_fault_of_the_source_closes_the_sinks(pipeline, pictures):
    sink = Collector()
    with pytest.raises(OSError, match="planted"):
        run_chain(pipeline, ListSource(pictures[:2], then=OSError("planted")), [sink])
    assert sink.closed == 1


def test_every_end_is_reached_though_one_fails(pipeline, pictures):
    class Failing(Collector):
        def close(self) -> None:
            raise OSError("disk full")

    source, sink = ListSource(pictures[:2]), Collector()
    with pytest.raises(OSError, match="disk full"):
        run_chain(pipeline, source, [sink, Failing(), sink])
    assert sink.closed == 2 and source.closed


def test_the_region_is_where_the_view_was_cut(bundles, pictures):
    chain = Pipeline.load(bundles / "bundle" / "ee.onnx", bundles / "bundle" / "sac.onnx")
    sink = Collector()
    run_chain(chain, ListSource(np.zeros((1, 80, 120, 3), np.uint8)), [sink])
    assert sink.answers[0].region == (5, 25, 70, 70)  # 0.875 of the short side
