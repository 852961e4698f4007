from __future__ import annotations

import pytest
from answers import make_answer

from sacvit.runtime.web.history import BINS, CONFIDENCES, SECONDS, History


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def history(clock) -> History:
    return History(clock)


def test_a_row_holds_what_was_answered_since_the_last_one(history, clock):
    for index, confidence in enumerate((0.9, 0.8, 0.3)):
        history.add(make_answer(index, confidence=confidence))
    clock.now += 2.0
    assert history.close_row(1_000.0, {"power_w": 4.5}) == {
        "time": 1000.0, "fps": 1.5, "exit_rate": 0.6667, "exit_ms": 3.0, "full_ms": 8.0, "age_ms": 12.0, "dropped": 0,
        "power_w": 4.5,
    }  # fmt: skip


def test_a_second_without_frames_has_no_rate_and_no_times(history, clock):
    history.add(make_answer())
    clock.now += 1.0
    history.close_row(1.0, {})
    clock.now += 1.0
    row = history.close_row(2.0, {})
    assert (row["fps"], row["exit_rate"], row["exit_ms"], row["age_ms"]) == (0.0, None, None, None)


def test_drops_are_those_of_the_second(history, clock):
    rows = []
    for dropped in (3, 5, 5):
        history.add(make_answer(dropped=dropped))
        clock.now += 1.0
        rows.append(history.close_row(clock.now, {})["dropped"])
    assert rows == [3, 2, 0]


def test_memory_is_bounded_by_ten_minutes_and_a_thousand_frames(history, clock):
    for index in range(CONFIDENCES + 200):
        history.add(make_answer(index, confidence=0.99 if index < 200 else 0.01))
    for _ in range(SECONDS + 5):
        clock.now += 1.0
        history.close_row(clock.now, {})
    assert len(history.rows) == SECONDS
    assert history.confidences() == [CONFIDENCES, *[0] * (BINS - 1)]


def test_a_confidence_of_one_falls_into_the_last_bin(history):
    history.add(make_answer(confidence=1.0))
    assert history.confidences()[-1] == 1


def test_a_sensor_that_came_later_leaves_gaps_in_its_column(history, clock):
    for sensors in ({}, {"hottest_c": 51.0}):
        clock.now += 1.0
        history.close_row(clock.now, sensors)
    assert history.columns()["hottest_c"] == [None, 51.0]
