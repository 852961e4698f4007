from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit.bundle.errors import UsageError
from sacvit.runtime.chain.live_gate import PROBE_S, LiveGate, VideoOptions
from sacvit.runtime.chain.pipeline import Pipeline


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def rows(gate, *confidence, streams=None):
    gate.begin(streams if streams is not None else range(len(confidence)))
    row = np.full(len(confidence), -1, np.int32)
    return row[: gate.survivors(np.array(confidence, np.float32), row)].tolist()


# Hysteresis


def test_the_first_image_of_a_stream_is_gated_as_ever():
    assert rows(LiveGate(0.7, video=VideoOptions(hysteresis=0.1)), 0.7, 0.69) == [1]


def test_a_stream_that_exits_goes_on_exiting_a_little_below_eta():
    """A doubt of 0.3 may become 0.45."""
    gate = LiveGate(0.7, video=VideoOptions(hysteresis=0.5))
    assert [rows(gate, value) for value in (0.8, 0.56, 0.54)] == [[], [], [0]]


def test_a_stream_that_went_on_must_be_surer_than_eta_to_exit_again():
    """A doubt of 0.3 must become 0.2."""
    gate = LiveGate(0.7, video=VideoOptions(hysteresis=0.5))
    assert [rows(gate, value) for value in (0.5, 0.79, 0.81, 0.65)] == [[0], [0], [], []]


def test_near_certainty_a_stream_can_still_come_back():
    gate = LiveGate(0.95, video=VideoOptions(hysteresis=1.0))
    assert [rows(gate, value) for value in (0.5, 0.97, 0.98, 0.91)] == [[0], [0], [], []]


def test_streams_remember_their_own():
    gate = LiveGate(0.7, video=VideoOptions(hysteresis=0.5))
    assert rows(gate, 0.9, 0.1, streams=[3, 8]) == [1]
    assert rows(gate, 0.65, 0.65, streams=[8, 3]) == [0]


@given(st.lists(st.floats(0, 1, width=32), min_size=2, max_size=200), st.floats(0, 3))
def test_hysteresis_never_changes_the_path_more_often(confidence, band):
    def changes(gate):
        paths = [bool(rows(gate, value)) for value in confidence]
        return sum(a != b for a, b in itertools.pairwise(paths))

    # The first image is gated alike; from there on the band only holds back a change.
    assert changes(LiveGate(0.5, video=VideoOptions(hysteresis=band))) <= changes(LiveGate(0.5, video=VideoOptions()))


# Deadline


@given(
    ee_ms=st.lists(st.floats(1, 30), min_size=1, max_size=60),
    sac_ms=st.floats(1, 60),
    deadline_ms=st.floats(5, 80),
)
def test_on_a_fake_clock_no_answer_comes_after_the_deadline_when_sac_takes_what_it_took(ee_ms, sac_ms, deadline_ms):
    clock = Clock()
    gate = LiveGate(0.5, video=VideoOptions(deadline_ms=deadline_ms), clock=clock)
    gate.learn(sac_ms, 1)
    for ee in ee_ms:
        began = clock.now
        gate.begin([0])
        clock.now += ee / 1e3
        row = np.zeros(1, np.int32)
        if gate.survivors(np.array([0.1], np.float32), row):
            clock.now += sac_ms / 1e3
            gate.learn(sac_ms, 1)
        late = 1e3 * (clock.now - began) > deadline_ms + 1e-6
        assert not late or ee > deadline_ms  # EE alone is late: nobody can help that
        assert bool(gate.degraded) == (ee + sac_ms > deadline_ms + 1e-9) or abs(ee + sac_ms - deadline_ms) < 1e-6


def test_a_sure_image_is_never_degraded():
    gate = LiveGate(0.5, video=VideoOptions(deadline_ms=1.0))
    gate.learn(100.0, 1)
    assert rows(gate, 0.9) == [] and not gate.degraded


def test_what_many_survivors_take_is_reckoned_from_what_fewer_took():
    gate = LiveGate(0.5, video=VideoOptions(deadline_ms=50.0))
    gate.learn(10.0, 1)
    assert gate.expected_ms(4) == 40.0
    gate.learn(15.0, 4)
    assert gate.expected_ms(4) == 15.0 and gate.expected_ms(3) == 15.0 and gate.expected_ms(8) == 30.0


def test_the_slow_passes_of_a_rolling_window_count_not_the_mean():
    gate = LiveGate(0.5, video=VideoOptions(deadline_ms=50.0))
    for value in [10.0] * 58 + [40.0] * 6:
        gate.learn(value, 1)
    assert gate.expected_ms(1) == 40.0
    for _ in range(64):
        gate.learn(10.0, 1)
    assert gate.expected_ms(1) == 10.0


def test_after_a_while_without_sac_it_is_tried_again_behind_an_answer():
    clock = Clock()
    gate = LiveGate(0.5, video=VideoOptions(deadline_ms=10.0), clock=clock)
    gate.learn(50.0, 1)
    rows(gate, 0.1)
    assert not gate.wants_probe
    clock.now += PROBE_S + 0.1
    rows(gate, 0.1)
    assert gate.degraded and gate.wants_probe
    gate.learn(5.0, 1)  # what it took before the pause counts no more
    assert rows(gate, 0.1) == [0] and not gate.wants_probe


# Shadow


def test_shadows_are_exits_that_sac_answers_too_behind_the_survivors():
    gate = LiveGate(0.5, video=VideoOptions(shadow=1.0))
    assert rows(gate, 0.9, 0.1, 0.8) == [1, 0, 2] and gate.shadows == {0, 2}


def test_about_the_share_that_was_asked_for_is_shadowed():
    gate = LiveGate(0.5, video=VideoOptions(shadow=0.1))
    count = sum(len(rows(gate, *[0.9] * 100)) for _ in range(100))
    assert 850 < count < 1150  # 10 000 exits; five standard deviations


def test_under_a_deadline_nobody_is_shadowed():
    assert rows(LiveGate(0.5, video=VideoOptions(shadow=1.0, deadline_ms=100.0)), 0.9) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hysteresis": -0.1}, "--hysteresis"),
        ({"hysteresis": 11}, "--hysteresis"),
        ({"deadline_ms": 0}, "--deadline-ms"),
        ({"deadline_ms": float("nan")}, "--deadline-ms"),
        ({"shadow": 1.5}, "--shadow"),
    ],
)
def test_numbers_that_cannot_be_are_told(options, words):
    with pytest.raises(UsageError, match=words):
        LiveGate(0.5, video=VideoOptions(**options))


# In the pipeline


@pytest.fixture
def pipeline(engines):
    return Pipeline.load(*engines, threshold=0.5)


def test_a_shadow_keeps_ee_s_answer_and_says_whether_sac_agrees(pipeline, engines, pictures):
    plain = pipeline(pictures)
    pipeline.gate = LiveGate(0.5, video=VideoOptions(shadow=1.0))
    shadowed = pipeline(pictures)
    both = Pipeline.load(*engines, threshold=1.0)(pictures)
    assert any(result.exits_early for result in plain)
    for before, after, sac in zip(plain, shadowed, both, strict=True):
        assert (before.index, before.stage) == (after.index, after.stage)
        assert after.agreed == ((sac.index == before.index) if before.exits_early else None)


def test_a_degraded_answer_is_ee_s_and_says_so(pipeline, pictures):
    plain = pipeline(pictures)
    gate = LiveGate(0.5, video=VideoOptions(deadline_ms=0.001))
    gate.learn(1000.0, 1)
    pipeline.gate = gate
    for before, after in zip(plain, pipeline(pictures), strict=True):
        assert after.stage == "EE" and after.degraded == (before.stage == "SAC")


def test_a_probe_teaches_the_gate_and_changes_no_answer(pipeline, pictures):
    expected = pipeline(pictures[:1])
    gate = LiveGate(0.5, video=VideoOptions(deadline_ms=10_000.0))
    pipeline.gate = gate
    pipeline(pictures[:1])
    gate._sac_ms.clear()
    pipeline.probe()
    assert gate.expected_ms(1) > 0
    assert [result.index for result in pipeline(pictures[:1])] == [result.index for result in expected]


def test_what_a_warm_up_saw_does_not_count_for_hysteresis():
    gate, row = LiveGate(0.9, video=VideoOptions(hysteresis=1.0)), np.zeros(1, np.int32)
    gate.begin([0])
    gate.survivors(np.array([0.99], np.float32), row)  # exits: the stream would stay with EE down to 0.8
    gate.forget()
    gate.begin([0])
    assert gate.survivors(np.array([0.85], np.float32), row) == 1
