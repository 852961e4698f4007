from __future__ import annotations

import pytest

from sacvit.profiles.timing import alternating as module
from sacvit.profiles.timing.alternating import round_ratios, time_alternating


def test_tasks_take_turns_and_the_warmup_does_not_count():
    calls: list[str] = []
    times = time_alternating({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3, warmup_rounds=2)
    assert calls == ["a", "b", "b", "a"] * 2 + ["a", "b"]  # the order turns
    assert {name: len(values) for name, values in times.items()} == {"a": 3, "b": 3}


def test_times_are_milliseconds_of_the_clock(monkeypatch):
    ticks = iter([0.0, 0.002, 0.002, 0.007])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(ticks))
    times = time_alternating({"a": lambda: None, "b": lambda: None}, 1, warmup_rounds=0)
    assert times == {"a": [pytest.approx(2)], "b": [pytest.approx(5)]}


def test_ratios_are_taken_inside_a_round():
    assert round_ratios({"slow": [4.0, 9.0], "fast": [2.0, 3.0]}, "slow", "fast") == [2.0, 3.0]
