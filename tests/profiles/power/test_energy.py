from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sacvit.profiles.power.energy import (
    TOTAL,
    Amount,
    Meter,
    PowerWindow,
    Spent,
    dynamic_mj,
    gross_mj,
    idle_of,
    measure,
    meter_of,
    sensor_bound_mw,
    spread,
    student,
)
from sacvit.profiles.power.sampler import Sampler, Trace
from sacvit.profiles.power.source import NoPower, PowerSource, Reading, Sensor
from sacvit.profiles.power.tegrastats import TegrastatsPower


class Source(PowerSource):
    name, scope, default_filter_s = "a sensor", "", 1.0

    def __init__(self, sensors=None, total=("VDD_IN",), kind="power"):
        self.sensors = sensors or {"VDD_IN": Sensor(40.0, 0.4)}
        self.total_rails, self.kind = total, kind


def sampler_of(source, times, **rails):
    sampler = Sampler(source)
    sampler.readings = [
        Reading(float(time), {name: float(values[place]) for name, values in rails.items()})
        for place, time in enumerate(times)
    ]
    return sampler


def window(mean_mw, duration_s=10.0, bound_mw=0.0):
    return PowerWindow(duration_s, {TOTAL: mean_mw}, {TOTAL: bound_mw})


@pytest.mark.parametrize(
    ("filter_s", "needed_s"), [(0.1, 10.0), (0.43, 10.0), (3.4, 34.0)], ids=["10 s at least", "10 s", "10 filters"]
)
def test_a_window_must_be_long_enough_for_the_sensor(filter_s, needed_s):
    assert Meter({}, {}, filter_s).needed_s(counts_energy=False) == pytest.approx(needed_s)


@pytest.mark.parametrize(("update_s", "needed_s"), [(0.001, 1.0), (0.1, 5.0)])
def test_a_counter_needs_50_updates(update_s, needed_s):
    assert Meter({}, {}, update_s).needed_s(counts_energy=True) == pytest.approx(needed_s)


def test_a_window_that_is_too_short_is_refused_with_the_length_needed():
    source = Source()
    times = np.arange(0, 5, 0.1)
    found = measure(sampler_of(source, times, VDD_IN=[1.0] * 50), meter_of(source), 0.0, 4.0, needed_s=10.0)
    assert found.reason == "a window of 4 s; a sensor needs 10 s" and not found.mean_mw


def test_a_window_with_readings_missing_is_refused_and_the_fault_told():
    source = Source()
    sampler = sampler_of(source, np.arange(0, 9, 0.1), VDD_IN=[1.0] * 90)
    sampler.faults.append("8.9 s: gone: VDD_IN")
    found = measure(sampler, meter_of(source), 0.0, 10.0, needed_s=10.0)
    assert found.reason == "no readings of VDD_IN for 11% of the window (8.9 s: gone: VDD_IN)"


def at_tegrastats_pace(lines, stopped_s=0.0):
    """A sampler of tegrastats, asked for a line each 100 ms: 170 ms apart and every tenth late, as on a busy board."""
    source = Source({"VDD_IN": Sensor(40.0, 0.43)})
    source.longest_gap_s = TegrastatsPower.longest_gap_s
    gaps = [0.17 + 0.17 * (number % 10 == 9) + stopped_s * (number == lines // 2) for number in range(lines)]
    times = np.cumsum([0.0, *gaps])
    return sampler_of(source, times, VDD_IN=np.full(len(times), 5000.0)), float(times[-1])


def test_the_pace_of_tegrastats_on_real_boards_voids_no_energy():
    sampler, end_s = at_tegrastats_pace(lines=70)
    found = measure(sampler, meter_of(sampler.source), 0.05, end_s - 0.05, needed_s=10.0)
    assert found.reason is None and found.mean_mw["VDD_IN"] == pytest.approx(5000.0)


def test_a_tegrastats_that_stopped_for_a_second_voids_the_energy():
    sampler, end_s = at_tegrastats_pace(lines=70, stopped_s=1.0)
    found = measure(sampler, meter_of(sampler.source), 0.05, end_s - 0.05, needed_s=10.0)
    assert "no readings of VDD_IN for 8% of the window" in found.reason


def test_without_a_source_power_is_null_and_the_reason_told():
    found = measure(Sampler(NoPower("no board")), Meter({}, {}, 0.0), 0.0, 10.0, needed_s=10.0)
    assert (found.mean_mw, found.reason) == ({}, "no board")


def test_the_total_is_its_own_row_and_its_steps_add_up():
    source = Source({"A": Sensor(400.0, 0.4), "B": Sensor(100.0, 0.4), "C": Sensor(40.0, 0.4)}, total=("A", "B"))
    meter = meter_of(source)
    assert meter.rails[TOTAL] == ("A", "B") and meter.steps_mw[TOTAL] == 500.0


def test_a_board_without_a_total_gives_rails_alone():
    source = Source({"A": Sensor(40.0, 0.4)}, total=())
    times = np.arange(0, 11, 0.1)
    found = measure(sampler_of(source, times, A=[7.0] * 110), meter_of(source), 0.0, 10.0, needed_s=10.0)
    assert set(found.mean_mw) == {"A"}


def test_a_step_that_the_source_does_not_tell_is_the_boards():
    assert meter_of(Source({"VDD_GPU_SOC": Sensor()}, total=())).steps_mw == {"VDD_GPU_SOC": 400.0}


def test_a_step_that_nobody_tells_is_read_off_the_readings():
    source = Source({"X": Sensor()}, total=())
    values = [100.0, 125.0, 125.0, 100.0, 150.0]
    assert meter_of(source, sampler_of(source, range(5), X=values)).steps_mw == {"X": 25.0}


def test_the_slowest_filter_counts_and_the_default_where_none_is_told():
    assert meter_of(Source({"A": Sensor(1, 0.2), "B": Sensor(1, 0.4)}, total=())).filter_s == 0.4
    assert meter_of(Source({"A": Sensor(1)}, total=())).filter_s == 1.0


def test_on_a_flat_signal_half_a_step_stays_unknown():
    flat = Trace(np.arange(0, 11, 0.1), np.full(110, 4000.0), "power")
    assert sensor_bound_mw(flat, 0.0, 10.0, step_mw=400.0, filter_s=0.5) == pytest.approx(200.0)


def test_a_filter_that_has_not_settled_adds_what_it_still_holds():
    """1000 mW of change over the window, 0.5 s late: 500 mJ over 10 s."""
    times = np.arange(0, 10.1, 0.1)
    ramp = Trace(times, np.where(times < 5, 1000.0, 2000.0), "power")
    assert sensor_bound_mw(ramp, 0.0, 10.0, step_mw=0.0, filter_s=0.5) == pytest.approx(50.0)


def test_a_counter_is_late_by_an_update():
    counter = Trace(np.arange(0, 11, 0.1), np.arange(110) * 500.0, "energy")  # 5 W
    assert sensor_bound_mw(counter, 0.0, 10.0, step_mw=0.0, filter_s=0.1) == pytest.approx(50.0)


def test_gross_energy_is_power_times_time_over_images():
    found = gross_mj([Spent(window(4000.0), 2000), Spent(window(4000.0), 2000)], TOTAL)
    assert found == Amount(20.0, pytest.approx(0.0))


def test_what_lies_above_idle_leaves_the_idle_power_out():
    found = dynamic_mj([Spent(window(4000.0), 2000, idle_of([window(3000.0)]))], TOTAL)
    assert found is not None and found.value == pytest.approx(5.0)


def test_idle_before_and_after_that_differ_widen_the_interval_by_half_of_it():
    idle = idle_of([window(2900.0, bound_mw=20.0), window(3100.0, bound_mw=20.0)])
    assert idle is not None and idle.mean_mw[TOTAL] == 3000.0 and idle.bound_mw[TOTAL] == pytest.approx(120.0)


def test_idling_that_was_not_measured_leaves_only_gross_energy():
    assert dynamic_mj([Spent(window(4000.0), 2000, idle_of([]))], TOTAL) is None


def test_one_refused_window_refuses_the_energy_of_all():
    assert gross_mj([Spent(window(4000.0), 2000), Spent(PowerWindow(1.0, {}, {}, "short"), 200)], TOTAL) is None


def test_the_spread_of_three_windows_is_student_s():
    """Of 9, 10, 11: 4.303 * 1 / sqrt(3)."""
    assert spread([9.0, 10.0, 11.0]) == pytest.approx(4.303 / 3**0.5)


def test_of_one_window_s_spread_nothing_is_known():
    assert spread([9.0]) is None
    assert gross_mj([Spent(window(4000.0), 2000)], TOTAL) == Amount(20.0, None)


def test_each_window_is_measured_against_the_idling_of_its_own_session():
    cold, warm = idle_of([window(3000.0)]), idle_of([window(3500.0)])
    found = dynamic_mj([Spent(window(4000.0), 2000, cold), Spent(window(4500.0), 2000, warm)], TOTAL)
    assert found is not None and found.value == pytest.approx(5.0) and found.plus_minus == pytest.approx(0.0)


def test_a_step_that_nobody_knows_leaves_the_interval_open():
    source = Source({"X": Sensor()}, total=())
    sampler = sampler_of(source, np.arange(0, 11, 0.1), X=[1000.0] * 110)
    taken = measure(sampler, meter_of(source, sampler), 0.0, 10.0, needed_s=10.0)
    assert taken.mean_mw == {"X": pytest.approx(1000.0)} and taken.bound_mw == {"X": None}
    assert gross_mj([Spent(taken, 100), Spent(taken, 100)], "X") == Amount(pytest.approx(100.0), None)


def test_a_rail_that_died_beside_the_total_costs_the_total_nothing():
    source = Source({"A": Sensor(40.0, 0.4), "B": Sensor(40.0, 0.4)}, total=("A",))
    sampler = sampler_of(source, np.arange(0, 11, 0.1), A=[1000.0] * 110, B=[1.0] * 110)
    sampler.readings = [Reading(one.time_s, {"A": one.rails["A"]}) for one in sampler.readings]
    taken = measure(sampler, meter_of(source), 0.0, 10.0, needed_s=10.0)
    assert set(taken.mean_mw) == {"A", TOTAL} and taken.reason is None


@pytest.mark.parametrize(("freedom", "quantile"), [(1, 12.706), (2, 4.303), (10, 2.228), (30, 2.042), (1000, 1.96)])
def test_student_s_quantiles_are_those_of_the_tables(freedom, quantile):
    assert student(freedom) == quantile


def filtered(power, step_s, filter_s):
    """A first-order filter, sampled as finely as `power`."""
    share, out, value = 1 - np.exp(-step_s / filter_s), np.empty_like(power), power[0]
    for place, now in enumerate(power):
        value += share * (now - value)
        out[place] = value
    return out


@settings(max_examples=30)
@given(
    idle_mw=st.floats(2500, 9000),
    noise_mw=st.floats(0, 300),
    seed=st.integers(0, 2**16),
    phase=st.floats(0, 0.1),
)
def test_a_model_of_2_w_and_5_ms_comes_out_within_its_stated_uncertainty(idle_mw, noise_mw, seed, phase):
    """On a sensor with 400 mW steps and a filter of 0.5 s: 10 mJ per image above idle, read at 10 Hz."""
    rng, fine_s, image_s, load_mw = np.random.default_rng(seed), 0.01, 0.005, 2000.0
    schedule = [("idle", 12.0)] + [("run", 14.0)] * 3 + [("idle", 16.0)]
    power = np.concatenate(
        [np.full(round(length / fine_s), idle_mw + load_mw * (what == "run")) for what, length in schedule]
    )
    power += rng.normal(0, noise_mw, len(power))
    shown = np.round(filtered(power, fine_s, 0.5) / 400.0) * 400.0
    source = Source({"VDD_IN": Sensor(400.0, 0.5)})
    at = np.arange(phase, len(power) * fine_s - fine_s, 0.1)
    sampler = sampler_of(source, at, VDD_IN=shown[(at / fine_s).astype(int)])
    meter = meter_of(source)
    assert meter.needed_s(counts_energy=False) == 10.0

    def taken(begin_s, end_s):
        return measure(sampler, meter, begin_s, end_s, needed_s=10.0)

    idle = idle_of([taken(1.0, 11.0), taken(12 + 42 + 5.0, 12 + 42 + 15.0)])
    begins = [12 + 14 * number + 3.0 for number in range(3)]
    spent = [Spent(taken(begin, begin + 10.0), round(10.0 / image_s), idle) for begin in begins]
    gross, dynamic = gross_mj(spent, TOTAL), dynamic_mj(spent, TOTAL)
    assert gross is not None and dynamic is not None and gross.plus_minus is not None and dynamic.plus_minus is not None
    assert abs(gross.value - (idle_mw + load_mw) * image_s) <= gross.plus_minus
    assert abs(dynamic.value - load_mw * image_s) <= dynamic.plus_minus
    assert dynamic.plus_minus < 5.0  # half of what is measured: an interval that says something
