from __future__ import annotations

import signal

import pytest

from sacvit.machine.interrupts import interrupts_held_back, stop_on


@pytest.fixture(autouse=True)
def handled():
    before = signal.getsignal(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    stop_on(signal.SIGUSR1)
    yield
    signal.signal(signal.SIGUSR1, before)


def test_a_stop_is_raised_at_once():
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGUSR1)


def test_a_stop_that_is_held_back_is_raised_at_the_end_of_the_block():
    done = []
    with pytest.raises(KeyboardInterrupt), interrupts_held_back():
        with interrupts_held_back():
            signal.raise_signal(signal.SIGUSR1)
            done.append("inner")
        done.append("outer")
    assert done == ["inner", "outer"]
    with interrupts_held_back():
        pass  # it is raised once


def test_a_second_stop_ends_a_block_that_hangs():
    with pytest.raises(KeyboardInterrupt), interrupts_held_back():
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGUSR1)
        pytest.fail("the block went on")
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGUSR1)


def test_a_signal_that_is_ignored_stays_so():
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    stop_on(signal.SIGUSR1)
    signal.raise_signal(signal.SIGUSR1)
