"""Progress where no terminal is: a line every ten seconds."""

from __future__ import annotations

import logging

import pytest

from sacvit.machine.progress import Progress, tracked


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_line_comes_every_ten_seconds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    with Progress("calibrate", 100, "image", clock=clock) as progress:
        for _ in range(25):
            clock.now += 1
            progress.step()
    assert caplog.messages == [
        "calibrate: 10 of 100 images, 1 per second, 01:30 left",
        "calibrate: 20 of 100 images, 1 per second, 01:20 left",
    ]


def test_a_line_without_a_total_says_how_many_are_done(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    progress = Progress("classify", unit="frame", clock=clock)
    clock.now = 20.0
    progress.step(10, note="50% exits")
    assert caplog.messages == ["classify: 10 frames, 0.5 per second, 50% exits"]


def test_the_rate_of_another_phase_counts_from_its_own_start(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    progress = Progress("answer", unit="image", clock=clock)
    for now, done in ((1000.0, 4000), (1000.0, 0), (1020.0, 400)):
        clock.now = now
        progress.reach(done, 4000)
    assert caplog.messages[-1] == "answer: 400 of 4000 images, 20 per second, 03:00 left"


def test_a_camera_shows_no_progress(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    progress = Progress("classify", is_shown=False, clock=clock)
    clock.now = 100.0
    progress.step()
    assert caplog.messages == []


def test_tracked_items_come_in_their_order() -> None:
    assert list(tracked(iter([3, 1, 2]), "read")) == [3, 1, 2]
