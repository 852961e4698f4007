"""Temperatures, throttling devices and over-current counters."""

from __future__ import annotations

from pathlib import Path

from ...machine.small_files import listed, read_number, read_text
from .clocks import GPU_NAMES

COOLING = ("throttle-alert", "cpufreq", *GPU_NAMES)  # devices that throttle; the others are fans and alerts
CONSTANT_ZONES = ("PMIC-Die",)  # always 100 C up to JetPack 4.4, and 50 C after it
COLDEST_C = -200.0  # a zone without power gives -256


def read_temperatures(root: Path) -> dict[str, float]:
    """Temperatures by zone in degrees Celsius. A zone without power gives an error or -256 C, and is left out."""
    found: dict[str, float] = {}
    for folder in listed(root / "sys/class/thermal", "thermal_zone*"):
        zone, value = read_text(folder / "type"), read_number(folder / "temp")
        if zone and zone not in CONSTANT_ZONES and value is not None and value / 1e3 > COLDEST_C:
            found[f"{zone} ({folder.name})" if zone in found else zone] = value / 1e3
    return found


def read_cooling(root: Path) -> dict[str, int]:
    """The step of every throttling device; of several with the same name, the highest step."""
    found: dict[str, int] = {}
    for folder in listed(root / "sys/class/thermal", "cooling_device*"):
        kind, step = read_text(folder / "type"), read_number(folder / "cur_state")
        if kind and step is not None and "fan" not in kind and any(name in kind for name in COOLING):
            found[kind] = max(step, found.get(kind, step))
    return found


def read_over_current(root: Path) -> dict[str, int]:
    counts = {
        path.name.removesuffix("_event_cnt"): read_number(path)
        for folder in listed(root / "sys/class/hwmon", "hwmon*")
        if read_text(folder / "name") == "soctherm_oc"
        for path in listed(folder, "oc*_event_cnt")
    }
    return {name: count for name, count in counts.items() if count is not None}
