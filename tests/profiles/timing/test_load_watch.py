from __future__ import annotations

from dataclasses import replace

import pytest

from sacvit.machine.activity import Activity
from sacvit.profiles.timing.load_watch import Load, LoadWatch

START = Activity(100.0, 2, 50.0, 10.0, 1.0, {7: 0.5}, 2, 1000, 5, 0.5)
CALM = Load(10.0, 2, 0.9, 0.02, 0.005, 0.01, 2.2, 4, 900.0, 5.0, 0.5)


def after(seconds, *, others=0.0, stolen=0.0, waited=0.0, running=2):
    """The counters `seconds` later, with shares of the time of two cores."""
    own_s, others_s = 1.5 * seconds, others * 2 * seconds
    return Activity(
        START.time_s + seconds,
        2,
        START.busy_s + own_s + others_s,
        START.own_s + own_s,
        START.stolen_s + stolen * 2 * seconds,
        {7: 0.5 + waited * seconds, 8: 0.0},
        running,
        1000 + round(400 * seconds),
        5 + round(10 * seconds),
        3.5,
    )


def test_a_load_is_the_difference_of_two_readings():
    here = LoadWatch(lambda: None, lambda: None)
    load = here.between(START, after(10.0, others=0.3, stolen=0.04, waited=0.2, running=4))
    assert (load.duration_s, load.cores, load.load_1min) == (10.0, 2, 3.5)
    assert (load.own, load.others, load.stolen, load.waited) == pytest.approx((0.75, 0.3, 0.04, 0.2))
    assert (load.running_mean, load.running_max) == (3.0, 4)
    assert (load.switches_per_s, load.forced_switches_per_s) == (400.0, 10.0)


def test_looks_at_the_run_queue_count_inside_of_the_window_alone(monkeypatch):
    moments, queue = iter([99.0, 103.0, 106.0, 111.0]), iter([90, 5, 7, 91])
    monkeypatch.setattr("sacvit.profiles.timing.load_watch.time.perf_counter", lambda: next(moments))
    here = LoadWatch(lambda: None, lambda: next(queue))
    for _ in range(4):
        here.look()
    load = here.between(START, after(10.0))
    assert (load.running_mean, load.running_max) == (4.0, 7)


def test_a_system_without_counters_has_no_load():
    here = LoadWatch(lambda: None, lambda: None)
    here.look()
    assert here.between(here.take(), here.take()) is None


def test_the_thread_looks_until_its_end_and_no_longer(monkeypatch):
    monkeypatch.setattr("sacvit.profiles.timing.load_watch.PERIOD_S", 0.001)
    calls = []
    with LoadWatch(lambda: None, lambda: calls.append(None) or 2) as here:
        while len(calls) < 3:
            pass
    done = len(calls)
    assert not here._thread.is_alive() and len(calls) == done


def test_a_calm_window_is_not_disturbed():
    assert CALM.disturbances == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"others": 0.61}, "other programs took 61% of the processor time"),
        ({"stolen": 0.03}, "the host of this virtual machine took 3% of the processor time"),
        ({"waited": 0.4}, "the engines waited for a core 40% of the time"),
    ],
)
def test_each_cause_disturbs_alone_and_is_named_with_the_run_queue(changes, words):
    (text,) = replace(CALM, **changes).disturbances
    assert text == f"{words} (run queue 2.2 on 2 cores)"


def test_where_waiting_is_not_counted_the_other_causes_are():
    assert replace(CALM, waited=None).disturbances == []
    assert replace(CALM, waited=None, others=0.5).disturbances


def test_a_window_of_milliseconds_is_too_short_to_say():
    assert replace(CALM, duration_s=0.1, others=0.9).disturbances == []
