from __future__ import annotations

from sacvit.profiles.conditions.gpu import NvmlState
from sacvit.profiles.conditions.state import MachineState
from sacvit.profiles.conditions.state_text import state_rows


def test_a_jetsons_rows_are_what_it_tells(look):
    state = look("orin-nano")
    assert state_rows(state) == [
        ("Board", "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"),
        ("System", "JetPack 6, Jetson Linux 36.4.3, kernel 5.15.148-tegra"),
        ("Processor", "ARMv8 Processor rev 1 (v8l), 6 cores"),
        ("Power mode", f"2 (MAXN_SUPER), table {state.nvpmodel_table}"),
        ("CPU clocks", "policy0, policy4: 730 to 1728 MHz, now 730 to 1510, schedutil, not pinned"),
        ("GPU clock", "17000000.gpu: 306 to 1020 MHz, now 612, nvhost_podgov, not pinned"),
        ("Memory clock", "EMC: 204 to 3199 MHz, now 3199, not pinned"),
        ("Temperatures", "cpu-thermal 48.25 C, gpu-thermal 47 C, tj-thermal 48.5 C"),
        ("Throttling", "none"),
        ("Over-current", "oc1 0, oc2 0, oc3 179"),
        ("Memory", "5120 MiB available, 0 MiB of swap in use"),
        ("Load", "0.12 over the last minute"),
        ("Also measuring", "jtop (process 812), tegrastats (process 900)"),
    ]


def test_an_empty_machine_has_no_rows(look):
    assert state_rows(look("empty")) == []


def test_clocks_that_are_pinned_are_said_to_be(look):
    rows = dict(state_rows(look("agx-orin")))
    assert rows["CPU clocks"] == "policy0, policy4: 1728 MHz, now 1728, performance, pinned"


def test_throttling_is_named_where_there_is_some(look):
    rows = dict(state_rows(look("thor")))
    assert rows["Throttling"] == "gpu-throttle-alert 1, devfreq-gpu-gpc-0 18"


def test_nvmls_row_leaves_out_what_it_does_not_tell():
    assert dict(state_rows(MachineState(nvml=NvmlState(gpu="Orin (nvgpu)"))))["NVML"] == "Orin (nvgpu)"


def test_nvmls_row_of_a_desktop_gpu():
    state = MachineState(nvml=NvmlState("NVIDIA H200", "570.86.15", 345, 1980, 3201, 3202, 31, 700000, ("idle",), None))
    assert dict(state_rows(state))["NVML"] == (
        "NVIDIA H200, driver 570.86.15, SM 345 of 1980 MHz, memory 3201 of 3202 MHz, 31 C, limit 700 W, clock reasons: idle"
    )
