from __future__ import annotations

import pytest

from sacvit.profiles.beside_run.windows import Windows
from sacvit.profiles.power.sampler import Sampler
from sacvit.profiles.power.source import NoPower, PowerSource, Reading, Sensor

EXIT_MJ, FULL_MJ = 20.0, 60.0


class Rail(PowerSource):
    name, scope, default_filter_s = "a sensor", "", 0.4

    def __init__(self, kind="power", total=("VDD_IN",)):
        self.kind, self.total_rails, self.sensors = kind, total, {"VDD_IN": Sensor(40.0, 0.4)}


def drive(windows, seconds, *, power_mw=lambda s: 5000.0, rate=20, is_exit=lambda s: True, begin_s=0, silent=()):
    """Readings every 0.1 s and frames at `rate`, both as they come; none in the seconds that `silent` holds."""
    for tenth in range(10 * begin_s, 10 * (begin_s + seconds)):
        at_s = tenth / 10
        if int(at_s) not in silent:
            windows.sampler.add(Reading(at_s, {"VDD_IN": power_mw(at_s)}))
        for place in range(rate // 10):
            windows.add(at_s + place / rate, "exit" if is_exit(at_s) else "full")


def test_a_window_is_as_long_as_the_sensor_needs_and_has_its_frames():
    windows = Windows(Sampler(Rail()))
    drive(windows, 25)
    assert [round(one.end_s - one.begin_s, 6) for one in windows.kept] == [10.0, 10.0]
    assert [dict(one.counts) for one in windows.kept] == [{"exit": 200}] * 2


def test_a_line_has_power_and_energy_per_frame_with_their_errors():
    """5 W at 20 frames per second are 250 mJ per frame; half a step of 40 mW is 1 mJ of it."""
    windows = Windows(Sampler(Rail()))
    drive(windows, 12, is_exit=lambda s: s < 5)
    assert windows.latest == {
        "ended_s": 10.0, "window_s": 10.0, "frames": 200, "exits": 99,
        "w": {"VDD_IN": 5.0, "total": 5.0}, "plus_minus_w": {"VDD_IN": 0.02, "total": 0.02},
        "mj_per_frame": {"value": 250.0, "plus_minus": 1.0},
    }  # fmt: skip


def test_before_the_first_window_has_ended_there_is_no_power():
    windows = Windows(Sampler(Rail()))
    drive(windows, 9)
    assert windows.latest is None


def test_frames_of_one_pass_on_both_sides_of_an_end_widen_the_error_of_their_energy():
    windows = Windows(Sampler(Rail()), most_cut=20)
    drive(windows, 12)
    assert windows.latest is not None
    assert windows.latest["mj_per_frame"]["plus_minus"] == pytest.approx(1.0 + 250.0 * 20 / 200)
    assert windows.latest["plus_minus_w"]["total"] == 0.02


def test_a_window_without_readings_has_no_power():
    windows = Windows(Sampler(Rail()))
    drive(windows, 25, silent=range(11, 25))
    assert [one.power.reason is None for one in windows.kept] == [True, False]
    assert windows.latest is None


def test_a_source_that_comes_back_is_measured_again():
    windows = Windows(Sampler(Rail()))
    drive(windows, 45, silent=range(11, 25))
    assert [one.power.reason is None for one in windows.kept] == [True, False, False, True]


def test_a_frame_before_the_first_reading_begins_no_window():
    windows = Windows(Sampler(Rail()))
    windows.add(0.0, "exit")
    drive(windows, 12, begin_s=3)
    assert [one.begin_s for one in windows.kept] == [3.0]


def test_the_mean_is_over_all_that_was_measured_and_the_rest_behind_the_last_window_counts():
    windows = Windows(Sampler(Rail()))
    drive(windows, 15, power_mw=lambda s: 8000.0 if s > 10 else 5000.0)
    windows.close()
    mean = windows.means_w()["VDD_IN"]
    assert mean["mean"] == pytest.approx((10 * 5 + 4.85 * 8 + 0.05 * 6.5) / 14.9, abs=0.02)
    assert mean["max"] == 8.0 and windows.measured_s == pytest.approx(14.9)


def test_the_mean_reaches_to_the_reading_after_which_a_source_stopped():
    windows = Windows(Sampler(Rail()))
    drive(windows, 40, silent=range(14, 40))
    windows.close()
    assert windows.measured_s == pytest.approx(13.9) and windows.means_w()["VDD_IN"]["mean"] == 5.0


def test_the_maximum_of_a_counter_is_over_a_second():
    """4 W, and 8 W for two seconds. The counter moves every 0.2 s: over 0.1 s that would look like 0 W and 16 W."""
    windows = Windows(Sampler(Rail("energy")))
    counter = lambda s: 4000.0 * s + 4000.0 * min(max(s - 12.0, 0.0), 2.0)  # noqa: E731
    drive(windows, 25, power_mw=lambda s: counter(int(5 * s + 1e-6) / 5))
    assert windows.means_w()["VDD_IN"]["max"] == pytest.approx(8.0, abs=1.0)


def by_turns(s: float) -> bool:
    """Windows of mostly exits and windows of mostly others; nine of ten and one of ten."""
    return (int(10 * s) % 10 == 0) != (int(s) // 10 % 2 == 0)


def power_by_turns(s: float) -> float:
    often, rarely = (EXIT_MJ, FULL_MJ) if int(s) // 10 % 2 == 0 else (FULL_MJ, EXIT_MJ)
    return 20 * (0.9 * often + 0.1 * rarely)


def test_the_energy_of_each_path_follows_from_windows_with_different_exit_rates():
    windows = Windows(Sampler(Rail()))
    drive(windows, 201, power_mw=power_by_turns, is_exit=by_turns)
    paths = windows.by_path()
    assert abs(paths.mj["exit"].value - EXIT_MJ) <= paths.mj["exit"].plus_minus
    assert abs(paths.mj["full"].value - FULL_MJ) <= paths.mj["full"].plus_minus < FULL_MJ / 4


def test_paths_are_not_separated_by_windows_of_one_exit_rate():
    windows = Windows(Sampler(Rail()))
    drive(windows, 101, is_exit=lambda s: int(10 * s) % 2 == 0)
    paths = windows.by_path()
    assert paths.reason is not None or paths.mj["exit"].plus_minus > abs(paths.mj["exit"].value)


def test_a_window_with_a_pause_of_the_frames_is_left_out_of_the_paths():
    """In the pause power is that of idling, which belongs to no frame."""
    windows = Windows(Sampler(Rail()))
    drive(windows, 41, is_exit=by_turns)
    for tenth in range(410, 900):
        windows.sampler.add(Reading(tenth / 10, {"VDD_IN": 1000.0}))
    drive(windows, 41, begin_s=90, is_exit=by_turns)
    assert len(windows.measured) == windows.by_path().windows + 1


def test_without_a_total_there_is_energy_by_rail_and_none_in_a_line():
    windows = Windows(Sampler(Rail(total=())))
    drive(windows, 25)
    assert windows.latest is not None and windows.latest["mj_per_frame"] is None
    assert list(windows.per_frame_mj()) == ["VDD_IN"] and not windows.by_path().mj


def test_a_run_without_a_source_counts_frames_and_has_no_power():
    windows = Windows(Sampler(NoPower("none here")))
    for second in range(30):
        windows.add(float(second), "exit")
    windows.close()
    assert windows.latest is None and windows.means_w() == {} and windows.per_frame_mj() == {}


def test_readings_of_measured_windows_are_forgotten():
    windows = Windows(Sampler(Rail()))
    drive(windows, 300)
    assert len(windows.sampler.readings) < 250
