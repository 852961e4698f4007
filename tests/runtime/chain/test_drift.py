from __future__ import annotations

import math

import numpy as np

from sacvit.runtime.chain.drift import ALARM, LEARNT, Drift
from sacvit.runtime.chain.result import Result
from sacvit.runtime.watch import WATCHED_S, Watch


def first_alarm(rates, seed):
    """The number of the observation that raises an alarm, or None. rates: of each observation."""
    rng, drift = np.random.default_rng(seed), Drift("the exit rate")
    for number, rate in enumerate(rates):
        if drift.observe(bool(rng.random() < rate)):
            return number
    return None


def divergence(p, q):
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


def test_a_planted_shift_is_noticed_within_the_stated_delay():
    """About ALARM / KL = 485 observations from 0.75 to 0.65, and within four times that."""
    expected = ALARM / divergence(0.65, 0.75)
    for seed in range(20):
        begin = LEARNT + 1000
        found = first_alarm([0.75] * begin + [0.65] * 5000, seed)
        assert found is not None and begin < found < begin + 4 * expected, (seed, found)


def test_a_rise_is_noticed_as_a_fall_is():
    assert first_alarm([0.5] * (LEARNT + 500) + [0.65] * 2000, 1) is not None


def test_of_20_quiet_streams_none_raises_an_alarm():
    assert [first_alarm([0.75] * 10_000, seed) for seed in range(20)] == [None] * 20


def test_there_is_one_alarm_and_then_silence():
    drift = Drift("x")
    told = [drift.observe(number < LEARNT) for number in range(LEARNT + 2000)]
    assert sum(text is not None for text in told) == 1


def test_a_rate_of_one_can_be_watched():
    drift = Drift("x")
    told = [drift.observe(True) for _ in range(LEARNT + 500)] + [drift.observe(False) for _ in range(50)]
    assert any(told[LEARNT + 500 :]) and not any(told[: LEARNT + 500])


def result(exits, agreed=None):
    return Result(0, "a", 0.9, "EE" if exits else "SAC", 0.9, (), 1.0, None if exits else 2.0, agreed=agreed)


def test_of_a_camera_one_frame_a_second_counts_and_of_a_file_every_one():
    now = [0.0]
    live, file = Watch(True, lambda: now[0]), Watch(False, lambda: now[0])
    for _ in range(300):
        now[0] += 0.033
        live.observe(0, result(True))
        file.observe(0, result(True))
    assert file.exits.learnt == 300 and live.exits.learnt == math.ceil(300 * 0.033 / WATCHED_S)


def test_an_alarm_is_logged_once_with_what_to_do(caplog):
    watch = Watch(False)
    for number in range(LEARNT + 1000):
        watch.observe(0, result(number < LEARNT or number % 2 == 0))
    assert len(watch.alarms) == len(caplog.messages) == 1 and "sacvit-tune" in caplog.messages[0]


def test_shadows_that_no_longer_agree_raise_an_alarm():
    watch = Watch(False)
    for number in range(LEARNT + 400):
        watch.observe(0, result(True, agreed=number < LEARNT or number % 2 == 0))
    assert any("agreement" in text for text in watch.alarms)


def test_an_alarm_is_handed_on():
    alarms = []
    watch = Watch(False, on_drift=alarms.append)
    for number in range(LEARNT + 1000):
        watch.observe(0, result(number < LEARNT or number % 2 == 0))
    assert alarms == watch.alarms and len(alarms) == 1
