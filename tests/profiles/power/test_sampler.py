from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit.profiles.power.sampler import Sampler, Trace
from sacvit.profiles.power.source import PERIOD_S, PowerError, PowerSource, Reading, Sensor


class Script(PowerSource):
    """A source that gives the readings of a list, one call after the other; an exception is raised."""

    name, kind, scope, default_filter_s = "script", "power", "", 0.1
    total_rails = ("VDD_IN",)

    def __init__(self, *steps, rails=("VDD_IN",)):
        self.steps = list(steps)
        self.sensors = {rail: Sensor() for rail in rails}

    def read(self):
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    def close(self):
        pass


GAP_S = 0.2


def reading(time_s, **rails):
    return [Reading(time_s, rails)]


def sampled(source):
    sampler = Sampler(source, clock=lambda: 0.0)
    while source.steps:
        sampler.take()
    return sampler


def trace(values, kind="power", step_s=0.1):
    return Trace(np.arange(len(values)) * step_s, np.array(values, dtype=float), kind)


def test_a_steady_power_is_its_product_with_time():
    assert trace([2000.0] * 11).energy_mj(0.0, 1.0) == pytest.approx(2000.0)


def test_a_ramp_is_integrated_by_trapezoids_not_by_rectangles():
    assert trace([0.0, 1000.0], step_s=1.0).energy_mj(0.0, 1.0) == pytest.approx(500.0)


def test_the_ends_of_a_window_are_interpolated():
    """1000 mW/s from 0: between 0.25 s and 0.75 s lie 1000 * (0.75^2 - 0.25^2) / 2 mJ."""
    assert trace([0.0, 1000.0], step_s=1.0).energy_mj(0.25, 0.75) == pytest.approx(250.0)


@given(st.lists(st.floats(0, 1e5), min_size=3, max_size=40), st.floats(0.05, 0.95))
def test_two_halves_of_a_window_make_the_whole(values, place):
    one = trace(values)
    end = float(one.times_s[-1])
    middle = place * end
    assert one.energy_mj(0, middle) + one.energy_mj(middle, end) == pytest.approx(one.energy_mj(0, end), abs=1e-6)


def test_a_counter_is_read_at_both_ends():
    assert trace([0.0, 100.0, 200.0, 300.0], "energy").energy_mj(0.05, 0.25) == pytest.approx(200.0)


def test_a_counter_as_power_is_its_slope():
    assert list(trace([0.0, 100.0, 300.0], "energy").as_power().values) == pytest.approx([1000.0, 2000.0])


@pytest.mark.parametrize(("begin", "end"), [(-0.1, 0.5), (0.5, 1.1)])
def test_a_window_that_the_readings_do_not_cover_has_no_energy(begin, end):
    assert math.isnan(trace([1.0] * 11).energy_mj(begin, end))


def test_no_readings_have_no_energy():
    assert math.isnan(trace([]).energy_mj(0.0, 1.0))


def test_nothing_is_missing_at_the_sampling_pace():
    assert trace([1.0] * 11, step_s=PERIOD_S).missing(0.0, 10 * PERIOD_S, GAP_S) == 0.0


def test_a_gap_is_missing_for_all_of_its_length():
    one = Trace(np.array([0.0, 0.1, 0.6, 0.7, 0.8, 0.9, 1.0]), np.ones(7), "power")
    assert one.missing(0.0, 1.0, GAP_S) == pytest.approx(0.5)


def test_a_source_that_stopped_is_missing_to_the_end_of_the_window():
    assert trace([1.0] * 6).missing(0.0, 1.0, GAP_S) == pytest.approx(0.5)


def test_the_total_is_summed_reading_by_reading():
    source = Script(reading(0.0, A=1.0, B=2.0), reading(0.1, A=3.0, B=4.0), rails=("A", "B"))
    assert list(sampled(source).trace(("A", "B")).values) == [3.0, 7.0]


def test_a_reading_without_one_rail_is_no_total_and_is_told():
    source = Script(reading(0.0, A=1.0, B=2.0), reading(0.1, A=3.0), rails=("A", "B"))
    sampler = sampled(source)
    assert list(sampler.trace(("A", "B")).values) == [3.0]
    assert sampler.faults == ["0.0 s: gone: B"]


def test_a_clock_that_jumps_back_loses_the_reading_and_is_told():
    sampler = sampled(Script(reading(5.0, VDD_IN=1.0), reading(4.0, VDD_IN=2.0), reading(5.1, VDD_IN=3.0)))
    assert list(sampler.trace(("VDD_IN",)).values) == [1.0, 3.0]
    assert sampler.faults == ["0.0 s: the clock went backwards"]


def test_a_clock_that_jumps_ahead_leaves_a_gap_that_is_missing():
    sampler = sampled(Script(*[reading(0.1 * n, VDD_IN=1.0) for n in range(5)], reading(3600.0, VDD_IN=1.0)))
    assert sampler.trace(("VDD_IN",)).missing(0.0, 3600.0, GAP_S) > 0.99


def test_a_source_that_ends_is_told_once_and_the_readings_stay():
    sampler = sampled(Script(reading(0.0, VDD_IN=1.0), PowerError("it ended"), PowerError("it ended")))
    assert len(sampler.readings) == 1 and sampler.faults == ["0.0 s: it ended"]


def test_a_sensor_that_comes_back_is_read_again():
    sampler = sampled(Script(reading(0.0, VDD_IN=1.0), PowerError("gone"), reading(0.2, VDD_IN=2.0)))
    assert [one.time_s for one in sampler.readings] == [0.0, 0.2]


def test_the_thread_reads_until_its_end_and_no_longer():
    class Steady(Script):
        def __init__(self):
            super().__init__()
            self.calls = 0

        def read(self):
            self.calls += 1
            return reading(float(self.calls), VDD_IN=1.0)

    source = Steady()
    with Sampler(source) as sampler:
        while len(sampler.readings) < 2:
            pass
    calls = source.calls
    assert not sampler._thread.is_alive() and len(sampler.readings) == calls == source.calls


@given(st.floats(0.2, 1.0))
def test_the_rise_of_a_first_order_filter_is_its_time_constant(filter_s):
    times = np.arange(0, 20, 0.1)
    values = np.where(times < 10, 1000.0, 1000.0 + 4000.0 * (1 - np.exp(-(times - 10) / filter_s)))
    found = Trace(times, values, "power").rise_s(10.0, 19.9, 40.0)
    assert found == pytest.approx(filter_s, abs=0.11)  # a sampling period


def test_a_rise_that_is_lost_in_the_sensors_steps_is_not_told():
    times = np.arange(0, 20, 0.1)
    assert Trace(times, np.where(times < 10, 1000.0, 1100.0), "power").rise_s(10.0, 19.9, 40.0) is None


def test_readings_that_are_not_needed_are_dropped_except_the_last_of_them():
    sampler = sampled(Script(*(reading(float(second), VDD_IN=1.0) for second in range(5))))
    sampler.forget(2.5)
    sampler.add(reading(5.0, VDD_IN=1.0)[0])
    assert [one.time_s for one in sampler.readings] == [2.0, 3.0, 4.0, 5.0]


def test_a_sampler_keeps_at_most_so_many_readings():
    sampler = Sampler(Script(), most=20)
    for second in range(100):
        sampler.add(reading(float(second), VDD_IN=1.0)[0])
    assert len(sampler.readings) <= 20 and sampler.readings[-1].time_s == 99.0


def test_each_reading_is_handed_on_once():
    taken = []
    sampler = Sampler(Script(), on_reading=taken.append)
    for second in (1.0, 1.0, 2.0):  # the second one is no news
        sampler.add(reading(second, VDD_IN=1.0)[0])
    assert [one.time_s for one in taken] == [1.0, 2.0]
