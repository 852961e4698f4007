from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sacvit.machine.activity import Activity
from sacvit.profiles.power.source import NoPower, PowerError
from sacvit.profiles.results.result import summarise
from sacvit.profiles.timing.contenders import ALWAYS, NEVER, PLAIN, Record, run_for
from sacvit.profiles.timing.schedule import Schedule, missing_windows, plan_schedule
from sacvit.profiles.timing.session import Session, Surroundings
from sacvit.profiles.timing.store import open_store

HEADER = {
    "engines": {}, "backend": "a world", "images": "none", "batch": 1, "scenario": None, "survivors_share": False,
    "stored_threshold": 0.5, "versions": {},
}  # fmt: skip
LONG = Schedule(window_s=10.0, passes=None, rounds=3, warmup_s=0.2, lead_s=2.0, idle_s=10.0, needed_s=10.0)


class Load:
    """A contender whose passes take `pass_s` of the world's time."""

    batch = 1

    def __init__(self, world, name, exit_rate, pass_s, threshold=None):
        self.world, self.name, self.exit_rate, self.pass_s = world, name, exit_rate, pass_s
        self.threshold, self.number = threshold, 0

    def run_pass(self, record: Record) -> None:
        record.begin_s.append(self.world.now)
        self.world.advance(self.pass_s, is_busy=True)
        goes_on = int((self.number + 1) * (1 - self.exit_rate)) - int(self.number * (1 - self.exit_rate))
        self.number += 1
        record.stages_ms.append((0.1, 1.0, 0.01, 2.0 * goes_on, 0.05))
        record.survivors.append(goes_on)
        record.confidence.append(0.5)


def run(store, contenders, source, world, schedule=LONG, order=None, read_load=lambda: None):
    order = missing_windows(store, contenders, None, schedule.rounds) if order is None else order
    around = Surroundings(source, lambda *_: None, pause=world.pause, read_load=read_load)
    Session(store, schedule, around, mode=None).run(contenders, order)


def contenders(world):
    return [
        Load(world, ALWAYS, 1.0, 0.02),
        Load(world, "eta 0.5", 0.5, 0.03, threshold=0.5),
        Load(world, NEVER, 0.0, 0.04),
        Load(world, PLAIN, 1.0, 0.03),
    ]


def test_every_round_has_every_contender_and_each_round_begins_with_another(tmp_path, world):
    order = missing_windows(open_store(tmp_path, HEADER), contenders(world), None, 3)
    assert order == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3), (1, 0), (2, 2), (2, 3), (2, 0), (2, 1)]


def test_windows_that_were_measured_are_not_measured_again(tmp_path, world):
    store = open_store(tmp_path, HEADER)
    run(store, contenders(world), NoPower("none"), world, order=[(0, 0), (1, 1)])
    left = missing_windows(open_store(tmp_path, HEADER), contenders(world), None, 2)
    assert (0, 0) not in left and (1, 1) not in left and len(left) == 6


def test_another_power_mode_is_measured_from_its_start(tmp_path, world):
    store = open_store(tmp_path, HEADER)
    run(store, contenders(world), NoPower("none"), world, order=[(0, 0)])
    assert len(missing_windows(store, contenders(world), 2, 1)) == 4


def test_without_power_there_is_no_idling_and_the_reason_stands_in_every_window(tmp_path, world):
    store = open_store(tmp_path, HEADER)
    schedule = plan_schedule(NoPower("no board"), 0.3, None, 10.0, 3)
    run(store, contenders(world), NoPower("no board"), world, schedule)
    assert schedule.idle_s == 0 and not store.of("idle")
    assert {line["power"]["reason"] for line in store.of("window")} == {"no board"}


def test_idle_and_load_power_are_told_apart(tmp_path, world):
    store = open_store(tmp_path, HEADER)
    run(store, contenders(world), world, world)
    (mode,) = summarise(store)["modes"]
    assert mode["power"]["idle_mw"]["total"] == pytest.approx(1000.0, abs=1)
    for contender in mode["contenders"].values():
        assert contender["energy"]["mj_per_image"]["total"]["mean_mw"] == pytest.approx(3000.0, rel=1e-3)


def test_energy_an_image_is_power_times_the_time_of_an_image(tmp_path, world):
    store = open_store(tmp_path, HEADER)
    run(store, contenders(world), world, world)
    for contender in summarise(store)["modes"][0]["contenders"].values():
        energy = contender["energy"]["mj_per_image"]["total"]
        assert energy["gross"]["value"] == pytest.approx(3.0 * contender["ms_per_image"], rel=1e-3)
        assert energy["above_idle"]["value"] == pytest.approx(2.0 * contender["ms_per_image"], rel=1e-3)


def test_the_rails_stand_beside_their_total(tmp_path, world):
    store = open_store(tmp_path, HEADER)
    run(store, contenders(world), world, world)
    table = summarise(store)["modes"][0]["contenders"][NEVER]["energy"]["mj_per_image"]
    assert set(table) == {"A", "B", "total"}
    assert table["A"]["gross"]["value"] + table["B"]["gross"]["value"] == pytest.approx(
        table["total"]["gross"]["value"], rel=1e-3
    )


def test_the_paths_are_found_by_regression_over_all_windows(tmp_path, world):
    """2 W above idle: an exit of 20 ms is 40 mJ, the full path of 40 ms is 80."""
    store = open_store(tmp_path, HEADER)
    pair = [Load(world, ALWAYS, 1.0, 0.02), Load(world, NEVER, 0.0, 0.04)]
    run(store, pair, world, world)
    (mode,) = summarise(store)["modes"]
    found = {path: amount["value"] for path, amount in mode["paths_mj"]["mj"].items()}
    assert found == pytest.approx({"exit": 40.0, "full": 80.0}, rel=1e-3)


def test_a_sensor_slower_than_it_was_taken_for_is_told(tmp_path, world):
    from sacvit.profiles.results.result import _slow_sensor

    power = {"sensors": {"A": {"filter_s": 0.4}}, "schedule": {"lead_s": 2.0}, "rise_s": [1.2]}
    assert "power took 1.2 s to rise" in _slow_sensor(power)[0]
    assert not _slow_sensor({**power, "rise_s": [0.5]}) and not _slow_sensor({**power, "rise_s": [None]})


def test_a_sensor_that_vanishes_costs_the_energy_and_not_the_run(tmp_path, world):
    class Vanishing(Load):
        def run_pass(self, record):
            super().run_pass(record)
            if self.number == 700:
                self.world.fault = PowerError("VDD_IN: no such device")

    store = open_store(tmp_path, HEADER)
    run(store, [Vanishing(world, ALWAYS, 1.0, 0.02)], world, world)
    (mode,) = summarise(store)["modes"]
    assert mode["contenders"][ALWAYS]["windows"] == 3
    assert mode["contenders"][ALWAYS]["energy"]["mj_per_image"] is None
    assert "VDD_IN: no such device" in mode["contenders"][ALWAYS]["energy"]["reason"]


def test_windows_that_are_too_short_say_what_is_needed(tmp_path, world):
    store = open_store(tmp_path, HEADER)
    schedule = Schedule(1.0, None, 1, 0.0, 0.0, 0.0, needed_s=10.0)
    run(store, [Load(world, ALWAYS, 1.0, 0.02)], world, world, schedule)
    assert "needs 10 s" in summarise(store)["modes"][0]["contenders"][ALWAYS]["energy"]["reason"]


def test_an_interruption_keeps_the_windows_before_it(tmp_path, world):
    class Interrupted(Load):
        def run_pass(self, record):
            super().run_pass(record)
            if self.number == 30:
                raise KeyboardInterrupt

    store = open_store(tmp_path, HEADER)
    schedule = Schedule(0.0, 10, 3, 0.0, 0.0, 0.0, 0.0)
    with pytest.raises(KeyboardInterrupt):
        run(store, [Interrupted(world, ALWAYS, 1.0, 0.02)], NoPower("none"), world, schedule)
    again = open_store(tmp_path, HEADER)
    assert [line["round"] for line in again.of("window")] == [0, 1] and again.of("trace")
    assert missing_windows(again, [Load(world, ALWAYS, 1.0, 0.02)], None, 3) == [(2, 0)]


def test_iterations_are_split_over_the_windows():
    schedule = plan_schedule(NoPower("none"), 30.0, 100, 200.0, 3)
    assert schedule.passes == 34 and schedule.lead_s == 0.2


def test_a_window_begins_when_the_filter_has_settled(world):
    world.sensors = {rail: type(sensor)(2.0, 0.5) for rail, sensor in world.sensors.items()}
    assert plan_schedule(world, 30.0, None, 200.0, 3).lead_s == pytest.approx(2.5)


def test_windows_too_short_for_the_sensor_are_neither_led_nor_followed_by_idling(world):
    schedule = plan_schedule(world, 3.0, None, 200.0, 3)
    assert schedule.idle_s == 0 and schedule.lead_s == 0.2 and schedule.needed_s == 10.0


def test_a_run_of_so_many_passes_has_them(world):
    assert len(run_for(Load(world, ALWAYS, 1.0, 0.02), 0.0, passes=7).begin_s) == 7


def test_a_scenario_runs_on_until_it_has_its_least_passes(world):
    assert len(run_for(Load(world, ALWAYS, 1.0, 0.0), 0.0, least=50).begin_s) == 50


def test_the_arrays_of_a_record_add_up_to_the_pass(world):
    record = run_for(Load(world, "eta 0.5", 0.5, 0.03), 0.0, passes=4)
    arrays = record.arrays()
    assert np.allclose(arrays["total"], [1.16, 3.16, 1.16, 3.16]) and list(arrays["survivors"]) == [0, 1, 0, 1]


# -- other programs ---------------------------------------------------------------------------------------------------


class Machine:
    """Counters of a machine with two cores, on which others take a share of the time while the world's clock says so."""

    def __init__(self, world, *disturbed):
        self.world, self.disturbed = world, disturbed

    def __call__(self):
        now = self.world.now
        others_s = sum(0.6 * 2 * max(0.0, min(now, end) - begin) for begin, end in self.disturbed if now > begin)
        return Activity(now, 2, others_s + 1.9 * now, 1.9 * now, 0.0, {}, 5 if others_s else 2, 0, 0, 0.5)


FOREVER = 1e9
SHORT = Schedule(window_s=10.0, passes=None, rounds=3, warmup_s=0.0, lead_s=0.0, idle_s=0.0, needed_s=0.0)


def test_a_window_that_was_disturbed_is_measured_again_and_the_calm_attempt_is_kept(tmp_path, world):
    store = open_store(tmp_path, HEADER)
    machine = Machine(world, (world.now + 11.0, world.now + 15.0))  # inside the second window
    run(store, contenders(world), NoPower("none"), world, SHORT, read_load=machine)
    lines = store.of("window")
    assert [line["attempts"] for line in lines] == [1, 2] + [1] * 10
    assert all(line["disturbances"] == [] for line in lines) and lines[1]["begin_s"] == pytest.approx(20.0, abs=0.5)
    mode = summarise(store)["modes"][0]
    assert sum(one["load"]["repeated_windows"] for one in mode["contenders"].values()) == 1
    assert not any(change["invalidates"] for change in mode["changes"])


def test_a_disturbance_that_stays_is_measured_a_bounded_number_of_times_and_invalidates_the_run(tmp_path, world):
    store = open_store(tmp_path, HEADER)
    run(store, contenders(world), NoPower("none"), world, SHORT, read_load=Machine(world, (world.now, FOREVER)))
    lines = store.of("window")
    assert len(lines) == 12 and max(line["attempts"] for line in lines) == 3
    assert sum(line["attempts"] - 1 for line in lines) == 6  # half as many as there are windows
    (mode,) = summarise(store)["modes"]
    assert mode["valid"] is False
    (change,) = [one for one in mode["changes"] if one["invalidates"]]
    assert "12 of 12 windows were disturbed" in change["text"] and "other programs took 60%" in change["text"]


def test_of_disturbed_attempts_the_calmest_is_kept(tmp_path, world):
    store = open_store(tmp_path, HEADER)
    start = world.now
    machine = Machine(world, (start, start + 10.0), (start + 14.0, start + 20.0), (start + 20.0, start + 30.0))
    order = [(number, 0) for number in range(4)]
    run(store, contenders(world)[:1], NoPower("none"), world, replace(SHORT, rounds=4), order, machine)
    first = store.of("window")[0]
    assert first["attempts"] == 3 and first["load"]["others"] == pytest.approx(0.36, abs=0.01) and first["disturbances"]


def test_windows_of_milliseconds_are_not_judged_and_the_result_says_so(tmp_path, world):
    store = open_store(tmp_path, HEADER)
    schedule = Schedule(0.1, None, 1, 0.0, 0.0, 0.0, 0.0)
    run(store, contenders(world)[:1], NoPower("none"), world, schedule, read_load=Machine(world, (world.now, FOREVER)))
    (mode,) = summarise(store)["modes"]
    assert mode["contenders"][ALWAYS]["windows"] == 1 and not mode["changes"]
    assert any("too short to show whether other programs disturbed them" in text for text in mode["warnings"])


def test_a_system_that_does_not_count_processor_time_says_that_nothing_was_watched(tmp_path, world):
    store = open_store(tmp_path, HEADER)
    run(store, contenders(world)[:1], NoPower("none"), world, SHORT)
    (mode,) = summarise(store)["modes"]
    assert any("does not count processor time" in text for text in mode["warnings"])


def test_idle_power_that_was_measured_on_a_busy_machine_invalidates_the_run(tmp_path, world):
    store = open_store(tmp_path, HEADER)
    machine = Machine(world, (world.now, world.now + 12.0))
    run(store, contenders(world)[:1], world, world, read_load=machine)
    texts = [change["text"] for change in summarise(store)["modes"][0]["changes"] if change["invalidates"]]
    assert any("idle power was measured on a busy machine" in text for text in texts)


def test_a_run_is_read_whose_windows_were_stored_before_load_was_watched(tmp_path, world):
    store = open_store(tmp_path, HEADER)
    run(store, contenders(world), NoPower("none"), world, SHORT)
    for line in store.lines:
        for name in ("load", "disturbances", "attempts"):
            line.pop(name, None)
    assert summarise(store)["modes"][0]["contenders"][PLAIN]["load"] is None
