from __future__ import annotations

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
from ina_tree import ORIN_NANO, hwmon

from sacvit.profiles.beside_run import run_power
from sacvit.profiles.beside_run.options import PowerOptions
from sacvit.profiles.beside_run.run_power import RunPower
from sacvit.profiles.power.open import Place
from sacvit.profiles.power.sampler import Sampler
from sacvit.profiles.power.source import PowerError
from sacvit.runtime.chain.result import Result
from sacvit.runtime.options import LoopOptions
from sacvit.runtime.sinks.overlay import Running
from sacvit.runtime.sinks.sink import Answer
from sacvit.runtime.sources.frame import Frame

EXIT = Result(1, "bee", 0.91, "EE", 0.91, (0, 1), 2.5, None)
FULL = Result(2, "cat", 0.66, "SAC", 0.31, (0, 1), 2.5, 4.5)
PICTURE = np.zeros((8, 8, 3), np.uint8)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        self.now += 1e-6
        return self.now


class Stepped(Sampler):
    """A sampler that reads where a test says so."""

    def __enter__(self) -> Sampler:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Chain:
    threshold = 0.5


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A machine with an INA3221, whose clock and threads stand until a test moves them."""
    root = tmp_path / "root"
    hwmon(root, ORIN_NANO)
    monkeypatch.setattr(run_power, "PLACE", Place(root, str(tmp_path / "no-tegrastats"), Clock()))
    monkeypatch.setattr(run_power, "Sampler", Stepped)
    monkeypatch.setattr(run_power, "SECOND_S", 1e6)
    return run_power.PLACE


def begun(options: PowerOptions, **more) -> RunPower:
    power = RunPower(options, **more)
    power.begin(Chain(), "http://host:8000")
    power._sampler.take()
    return power


def drive(power: RunPower, place: Place, seconds: int, result: Result = EXIT) -> None:
    for _ in range(10 * seconds):
        place.clock.now += 0.1
        power._sampler.take()
        frame = Frame(0, "f", PICTURE, taken_s=place.clock.now - 0.01)
        power.write(Answer(frame, result, PICTURE, (0, 0, 8, 8), 4, 0.5, 0.4, 10.0, Running(0.5, 7.0, 0)))
        power._take_answers()


def test_the_summary_has_power_by_rail_and_energy_per_frame(place):
    power = begun(PowerOptions("ina"))
    drive(power, place, 25)
    assert power.line()["w"]["VDD_IN"] == 4.8
    power.close()
    summary = power.summary()
    assert summary["w"]["VDD_SOC"] == {"mean": 1.48, "plus_minus": 0.02, "max": 1.48}
    assert summary["mj_per_frame"]["total"]["value"] == pytest.approx(480.0, abs=0.1)
    text = "\n".join(power.lines())
    assert "4.800 ± 0.020" in text and "480.0 ± 2.0 mJ" in text


def test_a_run_that_is_too_short_has_power_and_says_why_it_has_no_energy(place):
    power = begun(PowerOptions("ina"))
    drive(power, place, 5)
    power.close()
    assert power.summary()["w"]["VDD_IN"]["mean"] == 4.8 and power.summary()["mj_per_frame"] is None
    assert "no complete window of 10 s" in "\n".join(power.lines())


def test_without_a_sensor_auto_goes_on_and_says_why(place, caplog, monkeypatch, tmp_path):
    monkeypatch.setattr(run_power, "PLACE", replace(place, root=tmp_path / "bare"))
    power = begun(PowerOptions("auto"), loop=LoopOptions())
    drive(power, place, 25)
    power.close()
    assert power.line() is None and power.summary()["w"] is None
    assert "no INA3221" in caplog.text and "power: not measured" in power.lines()[0]


def test_a_named_source_that_is_missing_is_an_error_before_the_engines_are_loaded(place, tmp_path):
    log = tmp_path / "p.jsonl"
    with pytest.raises(PowerError, match=r"--power tegrastats: .*--power auto"):
        RunPower(PowerOptions("tegrastats", log))
    RunPower(PowerOptions("ina", log)).close()  # the lock on the log is gone


def test_a_source_that_stops_is_reported_with_its_time_and_the_run_goes_on(place, caplog):
    power = begun(PowerOptions("ina"))
    drive(power, place, 15)
    for path in place.root.rglob("*_input"):
        path.unlink()
    drive(power, place, 5)
    power._look()
    drive(power, place, 25)
    power._look()
    assert [record.levelno for record in caplog.records if "no channel" in record.message] == [logging.ERROR]
    assert power.line() is None
    power.close()
    assert "power source: after 15.1 s: ina3221 through sysfs: no channel can be read any more" in power.lines()
    assert power.summary()["windows"] == 1


def test_throttling_in_the_middle_is_in_the_summary(place):
    power = begun(PowerOptions("ina"))
    device = place.root / "sys/class/thermal/cooling_device0"
    device.mkdir(parents=True)
    (device / "type").write_text("gpu-throttle-alert")
    for seconds, step in ((10, 0), (10, 1), (10, 0)):
        (device / "cur_state").write_text(str(step))
        drive(power, place, seconds)
        power._look()
    power.close()
    assert power.summary()["throttled_s"] == {"gpu-throttle-alert": 20.0}
    assert "throttled because of heat: gpu-throttle-alert, seen after 20.0 s" in power.lines()


def test_the_log_has_what_the_run_had(place, tmp_path):
    power = begun(PowerOptions("ina", tmp_path / "p.jsonl"))
    drive(power, place, 3)
    power._look()
    drive(power, place, 2, FULL)
    power.close()
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    seconds = [line for line in lines if line["kind"] == "second"]
    assert [line["frames"]["path"] for line in seconds] == ["e" * 30, "f" * 20]
    assert sum(len(line["readings"]["s"]) for line in seconds) >= 50
    assert lines[0]["source"]["source"] == "ina3221 through sysfs"
    assert lines[-1]["kind"] == "end" and lines[-1]["summary"]["w"] == power.summary()["w"]


def test_a_shadow_of_an_exit_counts_as_the_full_path(place):
    """SAC ran for it, and cost energy."""
    power = begun(PowerOptions("ina"))
    drive(power, place, 12, replace(EXIT, sac_ms=4.5, agreed=True))
    assert power.line()["exits"] == 0
    power.close()


@pytest.mark.parametrize(
    ("loop", "cameras", "most_cut"),
    [
        (LoopOptions(), 1, 0),
        (LoopOptions(batch=8), 1, 7),
        (LoopOptions(batch=8, overlap=True), 1, 15),
        (LoopOptions(), 4, 3),
    ],
)
def test_frames_of_one_pass_may_lie_across_an_end_of_a_window(place, loop, cameras, most_cut):
    power = begun(PowerOptions("ina"), loop=loop, cameras=cameras)
    assert power._most_cut == most_cut
    power.close()
