from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sacvit.runtime.chain.result import Result
from sacvit.runtime.events.grammar import parse_rule
from sacvit.runtime.events.watcher import Watcher
from sacvit.runtime.sinks.overlay import Running
from sacvit.runtime.sinks.sink import Answer
from sacvit.runtime.sources.frame import Frame

PIXELS = np.zeros((4, 4, 3), np.uint8)
NUT = Result(3, "nut", 0.93, "SAC", 0.41, (), 1.0, 2.0)
BOLT = Result(4, "bolt", 0.99, "EE", 0.99, (), 1.0, None)


class Taken:
    """Keeps what a dispatcher would send."""

    def __init__(self) -> None:
        self.bodies, self.images, self.is_closed = [], [], False

    def put(self, body, image) -> None:
        self.bodies.append(body)
        self.images.append(image)

    def use(self, destinations) -> None:
        self.destinations = destinations

    def close(self) -> None:
        self.is_closed = True


def answer(result: Result, taken_s: float = 0.0, stream: int = 0, index: int = 0) -> Answer:
    frame = Frame(index, f"f{index}", PIXELS, stream, taken_s)
    return Answer(frame, result, PIXELS, (0, 0, 4, 4), 1, 0.5, 0.0, 0.0, Running(0, 0, 0))


def watch(*texts: str) -> tuple[Watcher, Taken]:
    taken = Taken()
    rules = [parse_rule(text) for text in texts]
    return Watcher(rules, taken, unix_s=lambda: 1_795_608_010.0, monotonic_s=lambda: 10.0), taken


def places(text: str, answers) -> list[int]:
    """The answers with which an event began."""
    watcher, taken = watch(text)
    for index, one in enumerate(answers):
        watcher.write(replace(one, frame=replace(one.frame, index=index)))
    return [body["frame"] for body in taken.bodies]


def test_an_event_begins_once_until_a_frame_does_not_fit():
    assert places("label=nut", [answer(one) for one in (BOLT, NUT, NUT, BOLT, NUT)]) == [1, 4]


def test_frames_count_in_sequence():
    assert places("label=nut for 3 frames", [answer(one) for one in (NUT, NUT, BOLT, NUT, NUT, NUT, NUT)]) == [5]


def test_seconds_count_from_the_first_frame_that_fits():
    times = [answer(NUT, taken_s) for taken_s in (5.0, 5.4, 5.5, 6.0)]
    assert places("label=nut for 0.5 s", times) == [2]


def test_each_camera_counts_alone():
    answers = [answer(NUT, stream=stream) for stream in (0, 1, 0, 1)]
    assert places("label=nut for 2 frames", answers) == [2, 3]


def test_an_event_says_what_when_and_where():
    watcher, taken = watch("label=nut")
    watcher.write(answer(NUT, taken_s=8.5, stream=1, index=7))
    body = taken.bodies[0]
    assert len(body.pop("id")) == 32
    assert body == {
        "event": "label=nut", "time": "2026-11-25T12:00:08.500Z", "camera": 1, "frame": 7, "name": "f7", "label": "nut",
        "index": 3, "probability": 0.93, "stage": "SAC", "confidence": 0.41,
    }  # fmt: skip
    assert taken.images[0] is PIXELS


def test_degraded_is_read_from_the_answer():
    late = replace(BOLT, degraded=True)
    assert places("degraded", [answer(one) for one in (BOLT, late, late, BOLT, late)]) == [1, 4]


@pytest.mark.parametrize(
    ("name", "report"),
    [
        ("drift", lambda watcher: watcher.report_drift("why")),
        ("camera-lost", lambda watcher: watcher.report_loss(2, "why")),
        ("recording-stopped", lambda watcher: watcher.report_stop("why")),
    ],
)
def test_what_is_reported_is_an_event_where_it_is_asked_for(name, report):
    watcher, taken = watch(name, "label=nut")
    report(watcher)
    assert [(body["event"], body["detail"]) for body in taken.bodies] == [(name, "why")]
    watcher, taken = watch("label=nut")
    report(watcher)
    assert taken.bodies == []


def test_the_end_of_a_run_ends_the_dispatcher():
    watcher, taken = watch("drift")
    watcher.close()
    assert taken.is_closed


def test_an_event_of_a_camera_names_its_clip():
    watcher, taken = watch("label=nut", "drift")
    watcher.keep_clip = lambda camera: f"camera{camera}.mkv"
    watcher.write(answer(NUT, stream=1))
    watcher.report_drift("why")
    assert [body.get("clip") for body in taken.bodies] == ["camera1.mkv", None]


def test_an_event_that_holds_is_not_made_again_when_other_rules_come():
    watcher, taken = watch("label=nut")
    watcher.write(answer(NUT))
    watcher.use([parse_rule("stage=SAC"), parse_rule("label=nut")], {})
    watcher.write(answer(NUT))
    assert [body["event"] for body in taken.bodies] == ["label=nut", "stage=SAC"]


def test_a_rule_that_was_left_out_begins_anew():
    watcher, taken = watch("label=nut")
    watcher.write(answer(NUT))
    watcher.use([], {})
    watcher.use([parse_rule("label=nut")], {})
    watcher.write(answer(NUT))
    assert [body["event"] for body in taken.bodies] == ["label=nut", "label=nut"]
