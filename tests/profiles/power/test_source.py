from __future__ import annotations

from collections.abc import Mapping

from sacvit.profiles.power.source import NoPower, Sensor, describe, module_total


def test_no_power_has_no_readings():
    assert NoPower("why").read() == []


def test_no_power_is_closed_like_any_other():
    NoPower("why").close()


def test_no_power_is_described_by_null_and_the_reason():
    assert describe(NoPower("nothing answers")) == {"source": None, "reason": "nothing answers"}


def test_a_source_is_described_with_its_sensors():
    class Source(NoPower):
        name, scope, measures, total_rails = "a sensor", "all of it", True, ("A",)
        sensors: Mapping[str, Sensor] = {"A": Sensor(40.0, 0.43, "its data sheet")}

    assert describe(Source("")) == {
        "source": "a sensor",
        "reason": None,
        "kind": "power",
        "scope": "all of it",
        "total_rails": ["A"],
        "sensors": {"A": {"step_mw": 40.0, "filter_s": 0.43, "source": "its data sheet", "details": {}}},
    }


def test_a_sensor_that_tells_nothing_has_no_step_and_no_filter():
    assert (Sensor().step_mw, Sensor().filter_s) == (None, None)


def test_a_total_names_its_modules():
    assert "AGX Xavier" in module_total(["GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"])[1]


def test_rails_of_no_known_board_have_no_total():
    assert module_total(["VDD_FOO"])[0] == ()
