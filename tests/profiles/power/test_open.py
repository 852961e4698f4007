from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from sacvit.profiles.power.ina import InaPower
from sacvit.profiles.power.nvml import NvmlPower
from sacvit.profiles.power.open import Place, open_power
from sacvit.profiles.power.rapl import RaplPower
from sacvit.profiles.power.source import PowerError, describe
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
        power = open_power(wanted, on_gpu=on_gpu, at=Place(tmp_path, command, clock))
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
    with pytest.raises(PowerError, match=f"--power {wanted}: .*--power auto takes the first"):
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


@pytest.mark.parametrize("wanted", [*SOURCES, "none"])
def test_a_description_is_json(machine, wanted):
    description = describe(machine(*SOURCES, wanted=wanted))
    assert json.loads(json.dumps(description, allow_nan=False)) == description
