"""Machines as Linux shows them in files, and a look at one of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sacvit.profiles.conditions.state import MachineState, read_state
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


def build(root: Path, files: dict[str, str]) -> None:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)


def no_nvml() -> object:
    raise PowerError("not installed")


@pytest.fixture
def look(tmp_path: Path) -> Callable[..., MachineState]:
    """A function that builds a machine of `MACHINES` with some files changed, and looks at it."""

    def look_at(machine: str, changed: dict[str, str] | None = None, **options: object) -> MachineState:
        build(tmp_path, {**MACHINES[machine], **(changed or {})})
        return read_state(tmp_path, **{"nvpmodel": tmp_path / "no-nvpmodel", "find_nvml": no_nvml, **options})

    return look_at
