"""Requests that are handed over together: batches, exits before SAC, refusals, and faults that stay with their request."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sacvit.bundle.errors import EngineError, ImageError, UsageError
from sacvit.bundle.preprocess import ImageU8
from sacvit.runtime.chain.pipeline import Pipeline
from sacvit.runtime.chain.result import Result
from sacvit.serving.batcher import Asked, BusyError, Chain
from sacvit.serving.gate import EachGate


class Journal:
    """A client for each request and the observer: all that happens, in its order."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.answers: dict[int, list[Result]] = {}
        self.faults: dict[int, Exception] = {}

    def client(self, number: int) -> Any:
        journal = self

        class One:
            def answer(self, results: list[Result]) -> None:
                assert number not in journal.answers and number not in journal.faults
                journal.answers[number] = results
                journal.events.append(("answer", number))

            def fail(self, reason: Exception) -> None:
                assert number not in journal.answers and number not in journal.faults
                journal.faults[number] = reason

        return One()

    def answered(self, stage: str, images: int, elapsed_ms: float) -> None:
        self.events.append((stage, images))

    def batch(self, images: int, survivors: int, ee_ms: float, sac_ms: float) -> None:
        self.events.append(("batch", images, survivors))

    def waiting(self, images: int) -> None:
        self.events.append(("waiting", images))


@pytest.fixture
def journal() -> Journal:
    return Journal()


@pytest.fixture
def own_pipeline(engines: tuple[str, str]) -> Pipeline:
    return Pipeline.load(*engines, provider="cpu")


def chain_of(pipeline: Pipeline, journal: Journal, max_batch: int = 4, max_queue: int = 100) -> Chain:
    pipeline.reserve(max_batch)
    return Chain(pipeline, EachGate(pipeline.threshold), journal, max_batch, max_queue)


def copying(image: ImageU8) -> Any:
    def fill(slot: ImageU8) -> None:
        slot[:] = image

    return fill


def asked(journal: Journal, images: np.ndarray, sizes: list[int], threshold: float = 0.5) -> list[Asked]:
    """Requests of so many images each, which take them in turn."""
    made, first = [], 0
    for number, size in enumerate(sizes):
        fills = [copying(image) for image in images[first : first + size]]
        made.append(Asked(journal.client(number), lambda fills=fills: (fills, threshold)))
        first += size
    return made


def test_every_request_gets_its_own_answers_in_order(
    own_pipeline: Pipeline, pipeline: Pipeline, journal: Journal, pictures: np.ndarray
) -> None:
    sizes = [1, 3, 2, 4, 1, 1, 2]
    chain_of(own_pipeline, journal).serve(asked(journal, pictures, sizes))
    found = [(result.index, result.stage) for number in range(len(sizes)) for result in journal.answers[number]]
    assert found == [(result.index, result.stage) for result in pipeline(list(pictures[: sum(sizes)]))]


def test_batches_take_as_many_requests_as_fit_and_none_is_torn_apart(
    own_pipeline: Pipeline, journal: Journal, pictures: np.ndarray
) -> None:
    chain_of(own_pipeline, journal).serve(asked(journal, pictures, [1, 3, 2, 4, 1, 1, 2]))
    assert [event[1] for event in journal.events if event[0] == "batch"] == [4, 2, 4, 4]


def test_exits_are_answered_before_sac_runs(
    own_pipeline: Pipeline, journal: Journal, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = type(own_pipeline.track(1)).go_on

    def go_on(track: Any) -> None:
        journal.events.append("SAC runs")
        whole(track)

    monkeypatch.setattr(type(own_pipeline.track(1)), "go_on", go_on)
    requests = asked(journal, pictures, [1, 1])
    fills = requests[1].read()[0]
    requests[1].read = lambda: (fills, 1.0)  # goes on whatever EE says
    fills0 = requests[0].read()[0]
    requests[0].read = lambda: (fills0, 0.0)
    chain_of(own_pipeline, journal).serve(requests)
    order = [event for event in journal.events if event == "SAC runs" or event[0] == "answer"]
    assert order == [("answer", 0), "SAC runs", ("answer", 1)]


def test_what_the_queue_cannot_hold_is_refused_without_being_read(
    own_pipeline: Pipeline, journal: Journal, pictures: np.ndarray
) -> None:
    requests = asked(journal, pictures, [1] * 10)
    for one in requests[6:]:
        one.read = lambda: pytest.fail("read")
    chain_of(own_pipeline, journal, max_queue=6).serve(requests)
    assert sorted(journal.answers) == list(range(6)) and sorted(journal.faults) == [6, 7, 8, 9]
    assert {str(fault) for fault in journal.faults.values()} == {"busy: 6 images are waiting. Come back later"}
    assert all(isinstance(fault, BusyError) for fault in journal.faults.values())


def test_a_request_of_more_images_than_a_batch_is_refused(
    own_pipeline: Pipeline, journal: Journal, pictures: np.ndarray
) -> None:
    chain_of(own_pipeline, journal).serve(asked(journal, pictures, [5, 1]))
    assert isinstance(journal.faults[0], UsageError) and sorted(journal.answers) == [1]
    assert str(journal.faults[0]) == "send 1 to 4 images per request, found 5"


def test_a_request_of_no_image_is_refused_and_not_forgotten(
    own_pipeline: Pipeline, journal: Journal, pictures: np.ndarray
) -> None:
    chain_of(own_pipeline, journal).serve(asked(journal, pictures, [0, 1]))
    assert str(journal.faults[0]) == "send 1 to 4 images per request, found 0" and sorted(journal.answers) == [1]


def test_a_request_that_cannot_be_taken_for_lack_of_memory_fails_alone(
    own_pipeline: Pipeline, journal: Journal, pictures: np.ndarray
) -> None:
    chain, calls = chain_of(own_pipeline, journal), []

    class Pool:
        def submit(self, *given: Any) -> Any:
            calls.append(given)
            if len(calls) == 1:
                raise RuntimeError("can't start new thread")
            return whole.submit(*given)

    whole, chain._pool = chain._pool, Pool()  # type: ignore[assignment]
    chain.serve(asked(journal, pictures, [1, 1]))
    assert str(journal.faults[0]) == "can't start new thread" and sorted(journal.answers) == [1]


def test_a_request_that_cannot_be_read_or_decoded_fails_alone(
    own_pipeline: Pipeline, journal: Journal, pictures: np.ndarray
) -> None:
    def broken(slot: ImageU8) -> None:
        raise ImageError("picture 0 is none")

    def unreadable() -> Any:
        raise UsageError("no eta")

    requests = asked(journal, pictures, [1, 1, 1, 1])
    requests[1].read = lambda: ([broken], 0.5)
    requests[2].read = unreadable
    chain_of(own_pipeline, journal).serve(requests)
    assert sorted(journal.answers) == [0, 3]
    assert {number: str(fault) for number, fault in journal.faults.items()} == {1: "picture 0 is none", 2: "no eta"}


def test_an_engine_that_fails_is_told_to_its_batch_and_the_next_one_is_answered(
    own_pipeline: Pipeline, journal: Journal, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SAC of the first batch: its exits have been answered, and stay answered."""
    kind, calls = type(own_pipeline.track(1)), []
    whole = kind.go_on

    def go_on(track: Any) -> None:
        calls.append(track)
        if len(calls) == 1:
            raise EngineError("out of memory")
        whole(track)

    monkeypatch.setattr(kind, "go_on", go_on)
    requests = asked(journal, pictures, [1] * 6)
    chain_of(own_pipeline, journal, max_batch=3).serve(requests)
    exits = [result.exits_early for result in Pipeline(own_pipeline.ee, own_pipeline.sac, 0.5)(list(pictures[:3]))]
    assert sorted(journal.faults) == [number for number in range(3) if not exits[number]]
    assert set(journal.answers) >= {3, 4, 5}


class NanGate(EachGate):
    """Plants NaN where an engine of too low a precision would: in EE's confidence, or in SAC's logits."""

    ee: tuple[int, ...] = ()
    sac: tuple[int, ...] = ()

    def calibrate(self, logits: np.ndarray, confidence: np.ndarray) -> None:
        confidence[list(self.ee)] = np.nan

    def check(self, logits: np.ndarray, row: np.ndarray) -> None:
        logits[list(self.sac)] = np.nan
        super().check(logits, row)


@pytest.mark.parametrize(("stage", "threshold"), [("EE", 0.5), ("SAC", 1.0)])
def test_an_image_for_which_an_engine_computes_nan_fails_its_own_request_alone(
    own_pipeline: Pipeline, pipeline: Pipeline, journal: Journal, pictures: np.ndarray, stage: str, threshold: float
) -> None:
    """Image 2 of the batch, which is the second of request 1. At a threshold of 1 all go on to SAC."""
    gate = NanGate(0.5)
    setattr(gate, stage.lower(), (2,))
    own_pipeline.reserve(4)
    Chain(own_pipeline, gate, journal, 4, 100).serve(asked(journal, pictures, [1, 2, 1], threshold))
    assert isinstance(journal.faults[1], EngineError) and "image 1 of this request" in str(journal.faults[1])
    wanted = [result.index for result in Pipeline(pipeline.ee, pipeline.sac, threshold)(list(pictures[:4]))]
    assert {number: results[0].index for number, results in journal.answers.items()} == {0: wanted[0], 2: wanted[3]}


@pytest.mark.parametrize("threshold", [0.0, 1.0])  # all are answered by EE, by SAC
def test_a_client_that_cannot_be_answered_takes_no_other_along(
    own_pipeline: Pipeline,
    journal: Journal,
    pictures: np.ndarray,
    caplog: pytest.LogCaptureFixture,
    threshold: float,
) -> None:
    class Gone:
        def answer(self, results: list[Result]) -> None:
            raise RuntimeError("response sender closed")

        fail = answer

    requests = asked(journal, pictures, [1, 1, 1, 1], threshold)
    requests[0].client = Gone()  # type: ignore[assignment]
    chain_of(own_pipeline, journal).serve(requests)
    assert sorted(journal.answers) == [1, 2, 3] and not journal.faults
    assert "response sender closed" in caplog.text


def test_a_client_that_is_gone_when_it_is_refused_takes_no_other_along(
    own_pipeline: Pipeline, journal: Journal, pictures: np.ndarray
) -> None:
    class Gone:
        def fail(self, reason: Exception) -> None:
            raise RuntimeError("response sender closed")

    requests = asked(journal, pictures, [5, 1])
    requests[0].client = Gone()  # type: ignore[assignment]
    chain_of(own_pipeline, journal).serve(requests)
    assert sorted(journal.answers) == [1]


def test_a_client_whose_answer_cannot_be_written_gets_an_error(
    own_pipeline: Pipeline, journal: Journal, pictures: np.ndarray
) -> None:
    requests = asked(journal, pictures, [1, 1])

    def unwritable(results: list[Result]) -> None:
        raise UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")

    requests[0].client.answer = unwritable  # type: ignore[method-assign]
    chain_of(own_pipeline, journal).serve(requests)
    assert isinstance(journal.faults[0], UnicodeEncodeError) and sorted(journal.answers) == [1]


def test_nothing_waits_at_the_end(own_pipeline: Pipeline, journal: Journal, pictures: np.ndarray) -> None:
    chain_of(own_pipeline, journal).serve(asked(journal, pictures, [1] * 10))
    waits = [event[1] for event in journal.events if event[0] == "waiting"]
    assert waits == [10, 6, 2, 0]
