from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from sacvit.profiles.power.ina import InaPower
from sacvit.profiles.power.nvml import NvmlPower
from sacvit.profiles.power.open import open_power
from sacvit.profiles.power.rapl import RaplPower
from sacvit.profiles.power.source import NoPower, PowerError, Sensor, describe, module_total, read_number, read_text
from sacvit.profiles.power.tegrastats import TegrastatsPower

LINE = "RAM 1/2MB (lfb 1x4MB) CPU [1%@2] VDD_IN 5000mW/5000mW"
INA, RAPL = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1", "sys/class/powercap/intel-rapl:0"
SOURCES = {"ina": InaPower, "tegrastats": TegrastatsPower, "nvml": NvmlPower, "rapl": RaplPower}


class NVMLError(Exception):
    pass


def pretend_nvml(energy_mj: int = 5000) -> SimpleNamespace:
    """As much of the module `pynvml` as a GPU with an energy counter needs."""
    return SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetTotalEnergyConsumption=lambda device: energy_mj,
    )


def write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_text(f"{content}\n")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A function that makes a machine with these sources and opens one of them; all are closed at the end."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    opened = []

    def make(*sources: str, wanted: str = "auto", on_gpu: bool = True, clock=time.perf_counter):
        if "ina" in sources:
            write(tmp_path / INA, in1_label="VDD_IN", in1_input=5000, curr1_input=960, shunt1_resistor=5000)
        if "rapl" in sources:
            write(tmp_path / RAPL, name="package-0", energy_uj=1000, max_energy_range_uj=10**9)
        if "tegrastats" in sources:
            script = f"#!/bin/sh\ntouch '{tmp_path}/started'\necho '{LINE}'\nexec sleep 60\n"
            (tmp_path / "tegrastats").write_text(script)
            (tmp_path / "tegrastats").chmod(0o755)
        monkeypatch.setitem(sys.modules, "pynvml", pretend_nvml() if "nvml" in sources else None)
        command = str(tmp_path / "tegrastats")
        power = open_power(wanted, on_gpu=on_gpu, root=tmp_path, tegrastats=command, clock=clock)
        opened.append(power)
        return power

    yield make
    for power in opened:
        power.close()


# -- which source -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sources", "first"),
    [
        (("ina", "tegrastats", "nvml", "rapl"), "ina"),
        (("tegrastats", "nvml", "rapl"), "tegrastats"),
        (("nvml", "rapl"), "nvml"),
        (("rapl",), "rapl"),
    ],
)
def test_the_first_source_that_answers_is_taken(machine, sources, first):
    assert type(machine(*sources)) is SOURCES[first]


def test_a_source_that_is_there_and_does_not_read_is_passed_over(machine, tmp_path):
    write(tmp_path / INA, in1_label="VDD_IN")
    assert type(machine("rapl")) is RaplPower


def test_nothing_is_started_that_is_not_needed(machine, tmp_path):
    machine("ina", "tegrastats")
    assert not (tmp_path / "started").exists()


def test_a_run_on_the_cpu_measures_the_processor(machine):
    assert type(machine("nvml", "rapl", on_gpu=False)) is RaplPower


def test_a_run_on_the_cpu_does_not_ask_nvml(machine):
    assert "nvml" not in machine("nvml", on_gpu=False).reason


def test_without_a_source_there_is_no_power_and_every_reason(machine):
    assert machine().reason == (
        "ina: no INA3221 or INA238 in /sys/bus/i2c/drivers;"
        " tegrastats: tegrastats does not start: No such file or directory;"
        " nvml: nvidia-ml-py is not installed: pip install 'sacvit[nvml]';"
        " rapl: no intel-rapl zone in /sys/class/powercap (a virtual machine has none)"
    )


@pytest.mark.parametrize("wanted", SOURCES)
def test_a_source_that_was_asked_for_is_taken(machine, wanted):
    assert type(machine(*SOURCES, wanted=wanted)) is SOURCES[wanted]


@pytest.mark.parametrize("wanted", SOURCES)
def test_a_source_that_was_asked_for_and_is_absent_is_an_error(machine, wanted):
    others = [name for name in SOURCES if name != wanted]
    with pytest.raises(PowerError):
        machine(*others, wanted=wanted)


def test_nvml_may_be_asked_for_on_a_cpu(machine):
    assert type(machine("nvml", wanted="nvml", on_gpu=False)) is NvmlPower


def test_who_wants_no_power_gets_none(machine):
    assert machine(*SOURCES, wanted="none").reason == "--power none"


@pytest.mark.parametrize("wanted", SOURCES)
def test_the_clock_that_is_handed_in_is_asked(machine, wanted):
    asked = []
    machine(*SOURCES, wanted=wanted, clock=lambda: asked.append(None) or 77.0).read()
    assert asked


# -- no power ---------------------------------------------------------------------------------------------------------


def test_no_power_has_no_readings():
    assert NoPower("why").read() == []


def test_no_power_is_closed_like_any_other():
    NoPower("why").close()


# -- for a result -----------------------------------------------------------------------------------------------------


def test_no_power_is_described_by_null_and_the_reason():
    assert describe(NoPower("nothing answers")) == {"source": None, "reason": "nothing answers"}


def test_a_source_is_described_with_its_sensors(machine):
    assert describe(machine("nvml")) == {
        "source": "NVML, energy counter",
        "reason": None,
        "kind": "energy",
        "scope": "the GPU's board; processor and memory of the machine lie outside",
        "total_rails": ["GPU board"],
        "sensors": {
            "GPU board": {
                "step_mw": None,
                "filter_s": 0.1,
                "source": "the counter moves every 10 to 100 ms",
                "details": {},
            }
        },
    }


@pytest.mark.parametrize("wanted", [*SOURCES, "none"])
def test_a_description_is_json(machine, wanted):
    description = describe(machine(*SOURCES, wanted=wanted))
    assert json.loads(json.dumps(description, allow_nan=False)) == description


def test_a_sensor_that_tells_nothing_has_no_step_and_no_filter():
    assert (Sensor().step_mw, Sensor().filter_s) == (None, None)


def test_a_total_names_its_modules():
    assert "AGX Xavier" in module_total(["GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"])[1]


def test_rails_of_no_known_board_have_no_total():
    assert module_total(["VDD_FOO"])[0] == ()


# -- small files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "number"),
    [
        (b"5000\n", 5000),
        (b"-8\n", -8),
        (b"0", 0),
        (b"42\0", 42),  # of a device tree
        (b"", None),
        (b"5000 mW\n", None),
        (b"1.5\n", None),
        (b"1_000\n", None),
        (b"\xff\n", None),
        (b"1\n2\n", None),
        (b"9" * 19, None),
    ],
)
def test_only_a_whole_number_alone_is_read_as_one(tmp_path, content, number):
    (tmp_path / "file").write_bytes(content)
    assert read_number(tmp_path / "file") == number


def test_a_file_that_is_absent_is_none(tmp_path):
    assert read_text(tmp_path / "file") is None


def test_a_folder_is_none(tmp_path):
    assert read_text(tmp_path) is None


def test_no_more_than_a_page_is_read(tmp_path):
    (tmp_path / "file").write_text("x" * 100_000)
    assert len(read_text(tmp_path / "file")) == 4096
