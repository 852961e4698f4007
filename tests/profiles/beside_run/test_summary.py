from __future__ import annotations

import pytest

from sacvit.profiles.beside_run.summary import machine_lines, power_lines

POWER = {
    "source": "a sensor", "reason": None, "scope": "the module's input", "total_rails": ["VDD_IN"], "measured_s": 40.0,
    "windows": 4, "window_s": 10.0, "mj_by_path_reason": None, "faults": [],
    "w": {"VDD_IN": {"mean": 5.0, "plus_minus": 0.02, "max": 6.0}, "VDD_SOC": {"mean": 1.5, "plus_minus": None, "max": 2.0},
          "total": {"mean": 5.0, "plus_minus": 0.02, "max": 6.0}},
    "mj_per_frame": {"VDD_IN": {"value": 170.0, "plus_minus": 0.7}, "total": {"value": 170.0, "plus_minus": 0.7}},
    "mj_by_path": {"exit": {"value": 160.0, "plus_minus": 5.0}, "full": {"value": 190.0, "plus_minus": 900.0}},
}  # fmt: skip
COLD = {"first": 21.0, "max": 22.0, "last": 22.0}
MACHINE = {"temperatures_c": {}, "throttled_s": {}, "changes": [], "log": None}


def row(lines: list[str], name: str) -> str:
    (found,) = [line for line in lines if line.split()[:1] == [name]]
    return found


def test_a_rail_that_alone_is_the_total_is_not_repeated():
    lines = power_lines(POWER)
    assert not [line for line in lines if line.split()[:1] == ["VDD_IN"]]
    assert lines.index(next(line for line in lines if line.startswith("total  "))) < lines.index(row(lines, "VDD_SOC"))


def test_an_error_that_is_not_known_is_a_question_mark():
    assert "1.500 ± ?" in row(power_lines(POWER), "VDD_SOC")


def test_an_energy_that_is_smaller_than_its_error_is_not_measurable():
    (by_path,) = [line for line in power_lines(POWER) if "by path" in line]
    assert "exit 160.0 ± 5.0 mJ" in by_path and "full not measurable" in by_path


def test_paths_that_the_windows_do_not_separate_have_the_reason():
    lines = power_lines(POWER | {"mj_by_path": None, "mj_by_path_reason": "4 windows are too alike"})
    assert "  by path: not measured: 4 windows are too alike" in lines


@pytest.mark.parametrize(
    ("part", "line"),
    [
        (
            {"temperatures_c": {"cpu": COLD, "tj": {"first": 45.0, "max": 61.5, "last": 52.0}}},
            "hottest: tj 61.5 C, at the start 45 C, at the end 52 C",
        ),
        ({"throttled_s": {"gpu-throttle-alert": 12.3}}, "throttled because of heat: gpu-throttle-alert, seen after 12.3 s"),
        ({"changes": [{"text": "the power mode changed", "invalidates": True}]}, "NOT STEADY: the power mode changed"),
        (
            {"log": {"file": "p.jsonl", "lost_lines": 3}},
            "p.jsonl lacks 3 lines of a second: the disk did not take them",
        ),
    ],
    ids=["heat", "throttling", "a change", "a full disk"],
)  # fmt: skip
def test_what_happened_to_the_machine_is_a_line(part, line):
    assert machine_lines(MACHINE | part) == [line]
