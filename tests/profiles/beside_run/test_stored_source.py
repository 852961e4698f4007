from __future__ import annotations

import pytest

from sacvit.profiles.beside_run.stored_source import source_of_description, source_of_log
from sacvit.profiles.power.energy import meter_of
from sacvit.profiles.power.source import describe

SENSOR = {"step_mw": 40.0, "filter_s": 0.43, "source": "", "details": {}}


def described(name: str, **changes: object) -> dict[str, object]:
    entries = {
        "source": name,
        "reason": None,
        "kind": "power",
        "scope": "all",
        "total_rails": ["A"],
        "sensors": {"A": SENSOR},
    }
    return entries | changes


def test_a_described_source_needs_the_windows_of_the_real_one():
    source = source_of_description(described("ina3221 through sysfs", sensors={"A": SENSOR | {"filter_s": 3.4}}))
    assert meter_of(source).needed_s(counts_energy=False) == pytest.approx(34.0)
    assert describe(source)["source"] == "ina3221 through sysfs"


def test_a_described_counter_counts_energy():
    assert source_of_description(described("NVML, energy counter", kind="energy")).kind == "energy"


def test_lines_of_tegrastats_may_be_further_apart_than_readings_of_sysfs():
    gaps_s = [source_of_description(described(name)).longest_gap_s for name in ("ina3221 through sysfs", "tegrastats")]
    assert gaps_s == [0.2, 0.5]


@pytest.mark.parametrize(("interval_s", "gap_s"), [(0.1, 1.0), (1.0, 2.5)])
def test_a_log_may_miss_a_line(interval_s, gap_s):
    assert source_of_log("log", ["VDD_IN"], interval_s).longest_gap_s == gap_s


def test_the_error_of_the_times_of_a_log_counts_as_smoothing():
    assert meter_of(source_of_log("log", ["VDD_IN"], 1.0)).filter_s == 1.5
