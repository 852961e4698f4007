from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sacvit.machine.jetson import PowerMode
from sacvit.profiles.conditions.state import (
    ClockState,
    MachineState,
    NvmlState,
    name_reasons,
    read_nvml_state,
    read_state,
)
from sacvit.profiles.conditions.validity import Change, describe_changes, state_rows
from sacvit.profiles.power.source import PowerError

CPU, GPU = "sys/devices/system/cpu/cpufreq", "sys/class/devfreq"
THERMAL, EMC = "sys/class/thermal", "sys/kernel/debug/bpmp/debug/clk/emc"
TABLE = "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=1 NAME=25W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n"


def cpu_policy(number: int, low: int, now: int, high: int, governor: str = "schedutil") -> dict[str, str]:
    values = {"min_freq": low, "cur_freq": now, "max_freq": high, "governor": governor}
    return {f"{CPU}/policy{number}/scaling_{name}": f"{value}\n" for name, value in values.items()}


def devfreq(name: str, low: int, now: int, high: int, governor: str = "nvhost_podgov") -> dict[str, str]:
    values = {"min_freq": low, "cur_freq": now, "max_freq": high, "governor": governor}
    return {f"{GPU}/{name}/{file}": f"{value}\n" for file, value in values.items()}


def zones(*rows: tuple[str, object]) -> dict[str, str]:
    """thermal_zone0, 1, ... with type and temp."""
    files = {}
    for number, (kind, temperature) in enumerate(rows):
        files |= {f"{THERMAL}/thermal_zone{number}/type": f"{kind}\n"}
        files |= {f"{THERMAL}/thermal_zone{number}/temp": f"{temperature}\n"}
    return files


def cooling(*rows: tuple[str, int]) -> dict[str, str]:
    files = {}
    for number, (kind, step) in enumerate(rows):
        files |= {f"{THERMAL}/cooling_device{number}/type": f"{kind}\n"}
        files |= {f"{THERMAL}/cooling_device{number}/cur_state": f"{step}\n"}
    return files


def meminfo(available_kib: int, swap_total_kib: int, swap_free_kib: int) -> dict[str, str]:
    lines = {"MemTotal": 7802112, "MemAvailable": available_kib, "SwapTotal": swap_total_kib, "SwapFree": swap_free_kib}
    return {"proc/meminfo": "".join(f"{name}:{value:>12} kB\n" for name, value in lines.items())}


def over_current(*counts: int, folder: str = "hwmon2") -> dict[str, str]:
    files = {f"sys/class/hwmon/{folder}/oc{n}_event_cnt": f"{count}\n" for n, count in enumerate(counts, 1)}
    return {f"sys/class/hwmon/{folder}/name": "soctherm_oc\n", **files}


ORIN_NANO = {  # JetPack 6, MAXN_SUPER, root
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n",
    "etc/nvpmodel.conf": TABLE,
    "var/lib/nvpmodel/status": "pmode:0002 fmode:fan_mode_quiet",
    "proc/sys/kernel/osrelease": "5.15.148-tegra\n",
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: ARMv8 Processor rev 1 (v8l)\nBogoMIPS\t: 62.50\n",
    "proc/self/status": "Name:\tpython\nCpus_allowed_list:\t0-7\n",
    "sys/devices/system/cpu/online": "0-5\n",
    "proc/loadavg": "0.12 0.30 0.21 1/512 4242\n",
    "proc/812/comm": "jtop\n",
    "proc/900/comm": "tegrastats\n",
    "proc/901/comm": "python\n",
    **meminfo(5242880, 3901056, 3901056),
    **cpu_policy(0, 729600, 1510400, 1728000),
    **cpu_policy(4, 729600, 729600, 1728000),
    **devfreq("17000000.gpu", 306000000, 612000000, 1020000000),
    **devfreq("15340000.vic", 115200000, 115200000, 601600000),
    f"{EMC}/rate": "3199000000\n", f"{EMC}/min_rate": "204000000\n", f"{EMC}/max_rate": "3199000000\n",
    f"{EMC}/mrq_rate_locked": "0\n",
    **zones(("cpu-thermal", 48250), ("gpu-thermal", 47000), ("cv0-thermal", -256000), ("tj-thermal", 48500)),
    **cooling(
        ("pwm-fan", 3), ("cpu-throttle-alert", 0), ("devfreq-17000000.gpu", 0), ("cpufreq-cpu0", 0),
        ("hot-surface-alert", 1), ("gpu-fan", 2),
    ),
    **over_current(0, 0, 179),
    "sys/class/hwmon/hwmon1/name": "ina3221\n",
}  # fmt: skip
AGX_ORIN = {  # JetPack 6, 30 W: two of three CPU clusters; debugfs is for root
    "proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 3.0, GCID: 36923193, BOARD: generic\n",
    "var/lib/nvpmodel/status": "pmode:0002 fmode:cool",
    "sys/devices/system/cpu/online": "0-7\n",
    **cpu_policy(0, 1728000, 1728000, 1728000, "performance"),
    **cpu_policy(4, 1728000, 1728000, 1728000, "performance"),
    **devfreq("17000000.ga10b", 612000000, 612000000, 612000000),
    **over_current(0, 0, 0),
}
XAVIER_NX = {  # JetPack 5
    "proc/device-tree/model": "NVIDIA Jetson Xavier NX Developer Kit\0",
    "etc/nv_tegra_release": "# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref\n",
    "sys/devices/system/cpu/online": "0-1,4\n",
    **devfreq("17000000.gv11b", 114750000, 114750000, 1109250000, "nvhost_podgov"),
    **zones(("CPU-therm", 36500), ("PMIC-Die", 100000), ("thermal-fan-est", 36050)),
}
THOR = {
    "proc/device-tree/model": "NVIDIA Jetson AGX Thor Developer Kit\0",
    "etc/nv_tegra_release": "# R39 (release), REVISION: 2.0, GCID: 1\n",
    **devfreq("gpu-gpc-0", 315000000, 1575000000, 1575000000),
    **devfreq("gpu-nvd-0", 315000000, 315000000, 1692000000),
    **devfreq("bwmgr", 665600000, 4266000000, 4266000000, "userspace"),
    **cooling(("gpu-throttle-alert", 1), ("devfreq-gpu-gpc-0", 18)),
}
PC = {
    "proc/sys/kernel/osrelease": "6.8.0-45-generic\n",
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: AMD Ryzen 9 5950X 16-Core Processor\n",
    "sys/devices/system/cpu/online": "0-31\n",
    **{key: value for n in range(32) for key, value in cpu_policy(n, 2200000, 2200000 + n * 1000, 3400000).items()},
    **zones(("acpitz", 16800), ("acpitz", 17000)),
    **cooling(("Processor", 0)),
}
MACHINES = {"orin-nano": ORIN_NANO, "agx-orin": AGX_ORIN, "xavier-nx": XAVIER_NX, "thor": THOR, "pc": PC, "empty": {}}


def build(root: Path, files: dict[str, str]) -> Path:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)
    return root


def no_nvml() -> object:
    raise PowerError("not installed")


def look(root: Path, files: dict[str, str], **options: object) -> MachineState:
    return read_state(build(root, files), root / "no-nvpmodel", **{"find_nvml": no_nvml, **options})


# -- reading ----------------------------------------------------------------------------------------------------------


def test_a_board_tells_its_name_and_system(tmp_path):
    state = look(tmp_path, ORIN_NANO)
    assert (state.board, state.l4t, state.jetpack, state.kernel) == (
        "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super", "36.4.3", "JetPack 6", "5.15.148-tegra",
    )  # fmt: skip


@pytest.mark.parametrize(("machine", "jetpack"), [("xavier-nx", "JetPack 5"), ("thor", "JetPack 7"), ("pc", None)])
def test_the_jetpack_follows_from_jetson_linux(tmp_path, machine, jetpack):
    assert look(tmp_path, MACHINES[machine]).jetpack == jetpack


def test_a_jetson_linux_that_nobody_knows_has_no_jetpack(tmp_path):
    state = look(tmp_path, {"etc/nv_tegra_release": "# R77 (release), REVISION: 1.0\n"})
    assert (state.l4t, state.jetpack) == ("77.1.0", None)


@pytest.mark.parametrize(
    ("machine", "is_jetson"), [("orin-nano", True), ("agx-orin", True), ("thor", True), ("pc", False), ("empty", False)]
)
def test_a_jetson_is_told_from_a_pc(tmp_path, machine, is_jetson):
    assert look(tmp_path, MACHINES[machine]).is_jetson is is_jetson


def test_a_container_without_the_release_file_is_still_a_jetson():
    assert MachineState(board="NVIDIA Jetson AGX Orin Developer Kit").is_jetson


def test_the_power_mode_has_id_name_and_where_it_was_read(tmp_path):
    state = look(tmp_path, ORIN_NANO)
    assert (state.power_mode, state.power_mode_source) == (PowerMode(2, "MAXN_SUPER"), "/var/lib/nvpmodel/status")


def test_without_a_note_the_tool_is_asked_for_the_power_mode(tmp_path):
    tool = tmp_path / "nvpmodel"
    tool.write_text("#!/bin/sh\nprintf 'NV Fan Mode:quiet\\nNV Power Mode: MODE_15W\\n2\\n'\n")
    tool.chmod(0o755)
    state = read_state(build(tmp_path, XAVIER_NX), tool, find_nvml=no_nvml)
    assert (state.power_mode, state.power_mode_source) == (PowerMode(2, "MODE_15W"), "nvpmodel -q")


def test_the_power_table_is_known_by_its_hash(tmp_path):
    assert look(tmp_path, ORIN_NANO).nvpmodel_table == hashlib.sha256(TABLE.encode()).hexdigest()[:12]


@pytest.mark.parametrize(("machine", "cores"), [("orin-nano", 6), ("xavier-nx", 3), ("pc", 32), ("empty", None)])
def test_cores_are_those_that_are_online(tmp_path, machine, cores):
    assert look(tmp_path, MACHINES[machine]).cores == cores


def test_cores_are_those_that_the_process_may_use(tmp_path):
    assert look(tmp_path, {**PC, "proc/self/status": "Cpus_allowed_list:\t2-3,40\n"}).cores == 2


def test_a_cpu_clock_is_in_mhz_with_its_governor(tmp_path):
    assert look(tmp_path, ORIN_NANO).cpu_clocks == (
        ClockState("CPU policy0", "schedutil", 729.6, 1510.4, 1728.0, False),
        ClockState("CPU policy4", "schedutil", 729.6, 729.6, 1728.0, False),
    )


def test_policies_come_by_number(tmp_path):
    names = [clock.name for clock in look(tmp_path, PC).cpu_clocks]
    assert names == [f"CPU policy{number}" for number in range(32)]


@pytest.mark.parametrize(
    ("machine", "names"),
    [
        ("orin-nano", ["GPU 17000000.gpu"]),
        ("agx-orin", ["GPU 17000000.ga10b"]),
        ("xavier-nx", ["GPU 17000000.gv11b"]),
        ("thor", ["GPU gpu-gpc-0", "GPU gpu-nvd-0"]),
        ("pc", []),
    ],
)
def test_the_gpus_clocks_are_found_by_name(tmp_path, machine, names):
    assert [clock.name for clock in look(tmp_path, MACHINES[machine]).gpu_clocks] == names


def test_a_gpu_clock_is_in_mhz(tmp_path):
    clock = look(tmp_path, ORIN_NANO).gpu_clocks[0]
    assert (clock.min_mhz, clock.now_mhz, clock.max_mhz) == (306.0, 612.0, 1020.0)


@pytest.mark.parametrize(("machine", "pinned"), [("orin-nano", False), ("agx-orin", True)])
def test_a_clock_is_pinned_when_its_limits_are_one(tmp_path, machine, pinned):
    state = look(tmp_path, MACHINES[machine])
    assert [clock.pinned for clock in (*state.cpu_clocks, *state.gpu_clocks)] == [pinned] * 3


def test_a_clock_whose_limit_cannot_be_read_is_neither_pinned_nor_not(tmp_path):
    files = {**AGX_ORIN, f"{GPU}/17000000.ga10b/max_freq": "?"}
    assert look(tmp_path, files).gpu_clocks[0].pinned is None


@pytest.mark.parametrize(("locked", "pinned"), [("0", False), ("1", True), ("", None)])
def test_the_memory_clock_of_the_boot_processor_is_pinned_by_its_lock(tmp_path, locked, pinned):
    state = look(tmp_path, {**ORIN_NANO, f"{EMC}/mrq_rate_locked": locked})
    assert state.memory_clock == ClockState("EMC", None, 204.0, 3199.0, 3199.0, pinned)


def test_the_memory_clock_of_a_thor_is_devfreqs(tmp_path):
    assert look(tmp_path, THOR).memory_clock == ClockState("EMC", "userspace", 665.6, 4266.0, 4266.0, False)


def test_a_memory_clock_that_only_root_may_read_is_absent(tmp_path):
    assert look(tmp_path, AGX_ORIN).memory_clock is None


def test_zones_without_power_have_no_temperature(tmp_path):
    expected = {"cpu-thermal": 48.25, "gpu-thermal": 47.0, "tj-thermal": 48.5}
    assert look(tmp_path, ORIN_NANO).temperatures_c == expected


def test_a_zone_that_gives_an_error_has_no_temperature(tmp_path):
    build(tmp_path, zones(("cpu", 40000)))
    (tmp_path / THERMAL / "thermal_zone1/temp").mkdir(parents=True)
    (tmp_path / THERMAL / "thermal_zone1/type").write_text("gpu\n")
    assert look(tmp_path, {}).temperatures_c == {"cpu": 40.0}


def test_the_constant_of_a_power_chip_is_no_temperature(tmp_path):
    assert look(tmp_path, XAVIER_NX).temperatures_c == {"CPU-therm": 36.5, "thermal-fan-est": 36.05}


def test_two_zones_of_one_name_are_both_kept(tmp_path):
    assert look(tmp_path, PC).temperatures_c == {"acpitz": 16.8, "acpitz (thermal_zone1)": 17.0}


def test_what_slows_clocks_down_is_told_from_fans_and_alerts(tmp_path):
    expected = {"cpu-throttle-alert": 0, "devfreq-17000000.gpu": 0, "cpufreq-cpu0": 0}
    assert look(tmp_path, ORIN_NANO).cooling == expected


def test_of_cooling_devices_with_one_name_the_highest_step_counts(tmp_path):
    state = look(tmp_path, cooling(("cpufreq-cpu0", 0), ("cpufreq-cpu0", 4), ("cpufreq-cpu0", 1)))
    assert state.cooling == {"cpufreq-cpu0": 4}


def test_over_current_counters_are_found_by_the_chips_name(tmp_path):
    files = {**ORIN_NANO, "sys/class/hwmon/hwmon1/oc4_event_cnt": "7\n"}
    assert look(tmp_path, files).over_current == {"oc1": 0, "oc2": 0, "oc3": 179}


def test_memory_is_in_mib(tmp_path):
    state = look(tmp_path, meminfo(5242880, 3145728, 2097152))
    assert (state.available_memory_mib, state.used_swap_mib) == (5120, 1024)


def test_the_load_is_that_of_the_last_minute(tmp_path):
    assert look(tmp_path, ORIN_NANO).load_1min == 0.12


@pytest.mark.parametrize("text", ["", "busy", ".5 0 0", f"{'9' * 400}.0 0.1 0.1 1/2 3"])
def test_a_load_that_is_no_number_is_absent(tmp_path, text):
    assert look(tmp_path, {"proc/loadavg": text}).load_1min is None


@pytest.mark.parametrize("text", ["", "all", "5-", "3-1", "0-99999999999"])
def test_cores_that_are_no_list_are_absent(tmp_path, text):
    assert look(tmp_path, {"sys/devices/system/cpu/online": text}).cores is None


def test_other_programs_that_measure_are_named_with_their_process(tmp_path):
    assert look(tmp_path, ORIN_NANO).measuring == ("jtop (process 812)", "tegrastats (process 900)")


def test_our_own_tegrastats_is_not_another_program(tmp_path):
    assert look(tmp_path, ORIN_NANO, own_pids=[900]).measuring == ("jtop (process 812)",)


def test_an_empty_machine_tells_nothing(tmp_path):
    assert look(tmp_path, {}) == MachineState()


@pytest.mark.parametrize("machine", MACHINES)
def test_a_state_is_the_same_after_json(tmp_path, machine):
    state = look(tmp_path, MACHINES[machine]).to_dict()
    lists = json.loads(json.dumps(state, allow_nan=False))
    assert lists == {key: list(value) if isinstance(value, tuple) else value for key, value in state.items()}


ANYTHING = st.one_of(
    st.binary(max_size=60),
    st.from_regex(r"-?[0-9]{1,30}\n?", fullmatch=True).map(str.encode),
    st.from_regex(r"[0-9]{1,12}[-.,:][0-9]{1,400}[ \n]?", fullmatch=True).map(str.encode),
    st.sampled_from([b"pmode:" + b"9" * 5000, b"MemAvailable: x kB", b"SwapTotal:", b"# R36 (release), REVISION: 4.3"]),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(data=st.data(), machine=st.sampled_from([ORIN_NANO, THOR]))
def test_whatever_the_files_hold_a_look_ends_in_json_and_text(tmp_path, data, machine):
    build(tmp_path, machine)
    for path in data.draw(st.lists(st.sampled_from(sorted(machine)), min_size=1, max_size=12, unique=True)):
        (tmp_path / path).write_bytes(data.draw(ANYTHING))
    state = read_state(tmp_path, tmp_path / "no-nvpmodel", find_nvml=no_nvml)
    json.dumps(state.to_dict(), allow_nan=False)
    state_rows(state)
    describe_changes(MachineState(), state)
    describe_changes(state, look(tmp_path, machine))


@pytest.mark.parametrize("kind", ["folder", "broken link"])
@pytest.mark.parametrize("path", [*ORIN_NANO, CPU, GPU, THERMAL, "proc", "sys"])
def test_a_folder_or_a_broken_link_in_a_files_place_is_as_good_as_nothing(tmp_path, path, kind):
    files = {name: content for name, content in ORIN_NANO.items() if not name.startswith(path)}
    build(tmp_path, files)
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).mkdir() if kind == "folder" else (tmp_path / path).symlink_to("nowhere")
    json.dumps(look(tmp_path, {}).to_dict())


def test_a_folder_that_vanishes_while_it_is_read_is_as_good_as_nothing(tmp_path, monkeypatch):
    build(tmp_path, AGX_ORIN)

    def vanish(*_: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "glob", vanish)
    assert look(tmp_path, {}).cpu_clocks == ()


# -- NVML -------------------------------------------------------------------------------------------------------------


class NVMLError(Exception):
    pass


class WorkingNvml:
    """A data-center GPU that supports everything; notes when it is started and ended."""

    NVMLError = NVMLError
    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0
    reasons = 0x1

    def __init__(self) -> None:
        self.log: list[str] = []

    def nvmlInit(self) -> None:
        self.log.append("start")

    def nvmlShutdown(self) -> None:
        self.log.append("end")

    def nvmlSystemGetDriverVersion(self) -> str:
        return "570.86.15"

    def nvmlDeviceGetCount(self) -> int:
        return 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        if index:
            raise NVMLError("Invalid Argument")
        return "handle"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        if uuid != "GPU-1":
            raise NVMLError("Not Found")
        return "handle"

    def nvmlDeviceGetName(self, handle: str) -> str:
        return "NVIDIA H200"

    def nvmlDeviceGetClockInfo(self, handle: str, clock: int) -> int:
        return {1: 345, 2: 3201}[clock]

    def nvmlDeviceGetMaxClockInfo(self, handle: str, clock: int) -> int:
        return {1: 1980, 2: 3202}[clock]

    def nvmlDeviceGetTemperatureV(self, handle: str, sensor: int) -> int:
        return 31

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: str) -> int:
        return 700000

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: str) -> int:
        return self.reasons


class OlderNvml(WorkingNvml):
    """Before R535 and CUDA 13: other names, and bytes for text."""

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: str) -> int:
        raise NVMLError("Function Not Found")

    def nvmlDeviceGetTemperatureV(self, handle: str, sensor: int) -> int:
        raise NVMLError("Function Not Found")

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: str) -> int:
        return 0x24

    def nvmlDeviceGetTemperature(self, handle: str, sensor: int) -> int:
        return 84

    def nvmlDeviceGetName(self, handle: str) -> bytes:
        return b"Quadro"


class OrinNvml(WorkingNvml):
    """Starts, counts one GPU and names it; all else is not supported."""

    def __getattribute__(self, name: str) -> object:
        known = {"log", "nvmlInit", "nvmlShutdown", "NVMLError", "nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex"}
        if name.startswith("nvml") and name not in known | {"nvmlDeviceGetName"}:
            return _not_supported
        return super().__getattribute__(name)

    def nvmlDeviceGetName(self, handle: str) -> str:
        return "Orin (nvgpu)"


class DeafNvml(WorkingNvml):
    """Starts, and then supports nothing."""

    def __getattribute__(self, name: str) -> object:
        if name.startswith("nvml") and name not in {"nvmlInit", "nvmlShutdown"}:
            return _not_supported
        return super().__getattribute__(name)


class DriverlessNvml(WorkingNvml):
    def nvmlInit(self) -> None:
        raise NVMLError("Driver Not Loaded")


def _not_supported(*_: object) -> None:
    raise NVMLError("Not Supported")


@pytest.fixture(autouse=True)
def no_choice_of_gpus(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_without_nvml_there_is_no_word_of_it():
    assert read_nvml_state(None) is None


def test_a_desktop_gpu_tells_everything():
    assert read_nvml_state(WorkingNvml()) == NvmlState(
        "NVIDIA H200", "570.86.15", 345, 1980, 3201, 3202, 31, 700000, ("idle",), None
    )


def test_an_older_library_is_asked_by_its_own_names():
    state = read_nvml_state(OlderNvml())
    assert state is not None
    assert (state.gpu, state.temperature_c, state.reasons) == ("Quadro", 84, ("SW power cap", "SW thermal slowdown"))


def test_an_orin_tells_its_name_alone():
    assert read_nvml_state(OrinNvml()) == NvmlState(gpu="Orin (nvgpu)")


def test_a_library_that_supports_nothing_gives_the_reason():
    assert read_nvml_state(DeafNvml()) == NvmlState(unavailable="NVML finds no GPU 0: Not Supported")


def test_a_machine_without_a_driver_gives_the_reason():
    assert read_nvml_state(DriverlessNvml()) == NvmlState(unavailable="NVML does not start: Driver Not Loaded")


@pytest.mark.parametrize("library", [WorkingNvml, OrinNvml, DeafNvml])
def test_nvml_is_ended_after_the_look_for_it_does_not_survive_a_fork(library):
    nvml = library()
    read_nvml_state(nvml)
    assert nvml.log == ["start", "end"]


def test_a_library_that_did_not_start_is_not_ended():
    nvml = DriverlessNvml()
    read_nvml_state(nvml)
    assert nvml.log == []


@pytest.mark.parametrize("chosen", ["0", "GPU-1", "0,1"])
def test_the_gpu_that_cuda_sees_first_is_the_one(monkeypatch, chosen):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    state = read_nvml_state(WorkingNvml())
    assert state is not None and state.gpu == "NVIDIA H200"


@pytest.mark.parametrize("chosen", ["MIG-8ab1", "MIG-GPU-1/1/0", "", "-1", "1", "GPU-2"])
def test_a_gpu_that_nvml_cannot_look_at_leaves_a_reason(monkeypatch, chosen):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    state = read_nvml_state(WorkingNvml())
    assert state is not None and state == NvmlState(unavailable=state.unavailable) and state.unavailable


@pytest.mark.parametrize("error", [AttributeError, OSError, UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")])
def test_a_library_of_another_kind_ends_no_look(error):
    def fail(*_: object) -> None:
        raise error

    assert read_nvml_state(SimpleNamespace(nvmlInit=lambda: None, nvmlShutdown=fail)) is not None
    assert read_nvml_state(SimpleNamespace(nvmlInit=fail)) is not None


def test_a_library_that_fails_to_load_is_as_good_as_none(tmp_path):
    def find() -> object:
        raise OSError("libnvidia-ml.so.1: cannot open shared object file")

    assert look(tmp_path, {}, find_nvml=find).nvml is None


def test_nvml_is_part_of_the_look(tmp_path):
    state = look(tmp_path, PC, find_nvml=WorkingNvml)
    assert state.nvml is not None and state.nvml.gpu == "NVIDIA H200"


@pytest.mark.parametrize(
    ("mask", "names"),
    [
        (0x0, ()),
        (0x48, ("HW slowdown", "HW thermal slowdown")),
        (0x80, ("HW power brake",)),
        (0x205, ("idle", "SW power cap", "0x200")),
    ],
)
def test_the_bits_of_the_clocks_reasons_have_names(mask, names):
    assert name_reasons(mask) == names


# -- changes ----------------------------------------------------------------------------------------------------------

JETSON = MachineState(
    board="NVIDIA Jetson Orin Nano Developer Kit",
    l4t="36.4.3",
    cores=6,
    power_mode=PowerMode(2, "MAXN_SUPER"),
    nvpmodel_table="aaaaaaaaaaaa",
    cpu_clocks=(ClockState("CPU policy0", "schedutil", 1728.0, 1728.0, 1728.0, True),),
    gpu_clocks=(ClockState("GPU 17000000.gpu", "nvhost_podgov", 1020.0, 1020.0, 1020.0, True),),
    memory_clock=ClockState("EMC", None, 204.0, 3199.0, 3199.0, True),
    temperatures_c={"tj-thermal": 50.0},
    cooling={"cpu-throttle-alert": 0},
    over_current={"oc1": 0, "oc3": 179},
    used_swap_mib=0,
    load_1min=0.5,
    nvml=NvmlState("Orin (nvgpu)"),
)
DESKTOP = MachineState(nvml=NvmlState("NVIDIA H200", power_limit_mw=700000, reasons=("idle",)))


def clock(low: float, now: float, high: float, governor: str | None = "nvhost_podgov") -> ClockState:
    return ClockState("GPU 17000000.gpu", governor, low, now, high, low == high)


def gpu(low: float, now: float, high: float, governor: str | None = "nvhost_podgov") -> MachineState:
    return replace(JETSON, gpu_clocks=(clock(low, now, high, governor),))


def only(before: MachineState, after: MachineState) -> Change:
    (change,) = describe_changes(before, after)
    return change


def held_by(*reasons: str) -> MachineState:
    return replace(DESKTOP, nvml=NvmlState("NVIDIA H200", power_limit_mw=700000, reasons=reasons))


@pytest.mark.parametrize("state", [JETSON, DESKTOP, MachineState()])
def test_a_machine_that_stays_as_it_is_has_no_changes(state):
    assert describe_changes(state, state) == []


@pytest.mark.parametrize("machine", MACHINES)
def test_nothing_is_a_change_only_because_one_look_did_not_see_it(tmp_path, machine):
    seen = replace(look(tmp_path, MACHINES[machine]), cooling={}, measuring=(), load_1min=None)
    assert describe_changes(seen, MachineState()) == describe_changes(MachineState(), seen) == []


INVALIDATING = {
    "power mode": (JETSON, replace(JETSON, power_mode=PowerMode(0, "15W")), "from 2 (MAXN_SUPER) to 0 (15W)"),
    "power mode without names": (
        replace(JETSON, power_mode=PowerMode(2)),
        replace(JETSON, power_mode=PowerMode(0)),
        "2 to 0",
    ),
    "power table": (JETSON, replace(JETSON, nvpmodel_table="bbbbbbbbbbbb"), "nvpmodel.conf changed"),
    "cores": (JETSON, replace(JETSON, cores=4), "cores went from 6 to 4"),
    "unpinned": (JETSON, gpu(306, 612, 1020), "GPU 17000000.gpu (1020 MHz before, 306 to 1020 now)"),
    "unpinned cure": (JETSON, gpu(306, 612, 1020), "sudo jetson_clocks"),
    "unlocked memory": (
        JETSON,
        replace(JETSON, memory_clock=ClockState("EMC", None, 204.0, 3199.0, 3199.0, False)),
        "came loose: EMC",
    ),
    "pinned elsewhere": (JETSON, gpu(612, 612, 612), "limits of clocks moved: GPU 17000000.gpu (1020 MHz before, 612"),
    "upper limit": (gpu(306, 612, 1020), gpu(306, 612, 918), "306 to 1020 MHz before, 306 to 918 now"),
    "lower limit": (gpu(306, 612, 1020), gpu(408, 612, 1020), "306 to 1020 MHz before, 408 to 1020 now"),
    "pinned meanwhile": (gpu(306, 612, 1020), gpu(1020, 1020, 1020), "limits of clocks moved"),
    "governor": (gpu(306, 612, 1020), gpu(306, 612, 1020, "performance"), "nvhost_podgov to performance"),
    "over-current": (
        JETSON,
        replace(JETSON, over_current={"oc1": 2, "oc3": 200}),
        "oc1 (under-voltage) by 2, oc3 (peak power) by 21; a better supply or a lower power mode",
    ),
    "throttled before": (replace(JETSON, cooling={"gpu-throttle-alert": 1}), JETSON, "gpu-throttle-alert at 1 before"),
    "throttled after": (JETSON, replace(JETSON, cooling={"gpu-throttle-alert": 1}), "gpu-throttle-alert at 1 after"),
    "swap": (JETSON, replace(JETSON, used_swap_mib=17), "swap grew by 17 MiB"),
    "band of Orin": (JETSON, replace(JETSON, temperatures_c={"tj-thermal": 99.0}), "tj-thermal is at 99 C"),
    "HW slowdown": (DESKTOP, held_by("HW slowdown"), "HW slowdown after"),
    "HW thermal slowdown": (DESKTOP, held_by("HW thermal slowdown"), "HW thermal slowdown after"),
    "SW thermal slowdown": (held_by("SW thermal slowdown"), DESKTOP, "SW thermal slowdown before"),
    "HW power brake": (DESKTOP, held_by("HW power brake"), "HW power brake after"),
    "power limit": (DESKTOP, replace(DESKTOP, nvml=NvmlState(power_limit_mw=350000)), "from 700 to 350 W"),
}


@pytest.mark.parametrize("name", INVALIDATING)
def test_what_makes_numbers_invalid_is_said_with_what_and_how_much(name):
    before, after, text = INVALIDATING[name]
    change = only(before, after)
    assert text in change.text and change.invalidates


TOLD = {
    "drift": (gpu(306, 306, 1020), gpu(306, 1020, 1020), "GPU 17000000.gpu 306 to 1020 MHz"),
    "drift cure": (gpu(306, 306, 1020), gpu(306, 1020, 1020), "sudo jetson_clocks"),
    "SW power cap": (DESKTOP, held_by("SW power cap"), "power limit"),
    "company": (JETSON, replace(JETSON, measuring=("jtop (process 812)",)), "jtop (process 812)"),
    "busy": (replace(JETSON, load_1min=1.6), JETSON, "load 1.6 on 6 cores"),
    "hot, band unknown": (DESKTOP, replace(DESKTOP, temperatures_c={"x86_pkg_temp": 91.0}), "x86_pkg_temp is at 91 C"),
}


@pytest.mark.parametrize("name", TOLD)
def test_what_is_only_worth_telling_does_not_invalidate(name):
    before, after, text = TOLD[name]
    change = only(before, after)
    assert text in change.text and not change.invalidates


UNREMARKABLE = {
    "swap within its noise": (JETSON, replace(JETSON, used_swap_mib=16)),
    "swap that shrank": (replace(JETSON, used_swap_mib=500), JETSON),
    "old over-current events": (JETSON, replace(JETSON, over_current={"oc3": 179})),
    "counters of a machine that started anew": (JETSON, replace(JETSON, over_current={"oc3": 0})),
    "a counter that appeared": (replace(JETSON, over_current={}), JETSON),
    "a clock within a hundredth": (gpu(306, 1000, 1020), gpu(306, 1009, 1020)),
    "a pinned clock's own ripple": (JETSON, gpu(1020, 1000, 1020)),
    "a name that one look lacks": (JETSON, replace(JETSON, power_mode=PowerMode(2))),
    "just below the band": (JETSON, replace(JETSON, temperatures_c={"tj-thermal": 98.5})),
    "a load of our own making": (JETSON, replace(JETSON, load_1min=6.0)),
    "a usual load": (replace(JETSON, load_1min=1.5), JETSON),
    "application clocks": (DESKTOP, held_by("application clocks")),
    "a clock that cannot be judged": (
        replace(JETSON, gpu_clocks=(ClockState("GPU g", None, None, 306.0, None, None),)),
        replace(JETSON, gpu_clocks=(ClockState("GPU g", None, None, 918.0, None, None),)),
    ),
}


@pytest.mark.parametrize("name", UNREMARKABLE)
def test_what_does_not_matter_is_not_told(name):
    assert describe_changes(*UNREMARKABLE[name]) == []


def test_what_invalidates_comes_first():
    before = replace(gpu(306, 306, 1020), load_1min=6.0)
    after = replace(gpu(306, 918, 1020), used_swap_mib=100)
    assert [change.invalidates for change in describe_changes(before, after)] == [True, False, False]


def test_the_cure_for_a_pcs_clocks_is_not_jetson_clocks():
    before, after = (MachineState(cpu_clocks=(replace(clock(2200, now, 3400), name="CPU 0"),)) for now in (2200, 3400))
    change = only(before, after)
    assert "cpupower" in change.text and "jetson" not in change.text


def test_many_clocks_are_told_in_a_few_words(tmp_path):
    before = look(tmp_path, PC)
    after = replace(before, cpu_clocks=tuple(replace(one, now_mhz=3400.0) for one in before.cpu_clocks))
    change = only(before, after)
    assert "and 28 more" in change.text and len(change.text) < 300


def test_a_thor_slows_down_later_than_an_orin():
    thor = MachineState(board="NVIDIA Jetson AGX Thor Developer Kit", temperatures_c={"tj": 105.0})
    assert describe_changes(thor, thor) == []


# -- rows -------------------------------------------------------------------------------------------------------------


def test_a_jetsons_rows_are_what_it_tells(tmp_path):
    digest = hashlib.sha256(TABLE.encode()).hexdigest()[:12]
    assert state_rows(look(tmp_path, ORIN_NANO)) == [
        ("Board", "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"),
        ("System", "JetPack 6, Jetson Linux 36.4.3, kernel 5.15.148-tegra"),
        ("Processor", "ARMv8 Processor rev 1 (v8l), 6 cores"),
        ("Power mode", f"2 (MAXN_SUPER), table {digest}"),
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


def test_an_empty_machine_has_no_rows(tmp_path):
    assert state_rows(look(tmp_path, {})) == []


def test_clocks_that_are_pinned_are_said_to_be(tmp_path):
    rows = dict(state_rows(look(tmp_path, AGX_ORIN)))
    assert rows["CPU clocks"] == "policy0, policy4: 1728 MHz, now 1728, performance, pinned"


def test_throttling_is_named_where_there_is_some(tmp_path):
    rows = dict(state_rows(look(tmp_path, THOR)))
    assert rows["Throttling"] == "gpu-throttle-alert 1, devfreq-gpu-gpc-0 18"


def test_nvmls_row_leaves_out_what_it_does_not_tell():
    assert dict(state_rows(MachineState(nvml=read_nvml_state(OrinNvml()))))["NVML"] == "Orin (nvgpu)"


def test_nvmls_row_of_a_desktop_gpu():
    assert dict(state_rows(MachineState(nvml=read_nvml_state(WorkingNvml()))))["NVML"] == (
        "NVIDIA H200, driver 570.86.15, SM 345 of 1980 MHz, memory 3201 of 3202 MHz, 31 C, limit 700 W, clocks held by idle"
    )
