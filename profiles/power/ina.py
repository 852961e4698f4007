"""INA3221 and INA238 power monitors of a Jetson, read from sysfs: no root, no child process, every channel.

hwmon since JetPack 5 (kernel.org, hwmon/ina3221 and hwmon/ina238), NVIDIA's own iio driver before. Devices are found by their
driver and rails by their label, since numbers of hwmon folders change between boots.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...machine.small_files import ROOT, read_number, read_text
from .source import Clock, Kind, PowerError, PowerSource, Reading, Sensor, module_total

DRIVERS = "sys/bus/i2c/drivers"
SHUNT_STEP_UV = 40.0  # of an INA3221: 13 bits; NVIDIA DRIVE OS 7.0.3, power_management_tool
INA238_SHUNT_STEP_UV = 5.0  # 16 bits over +-163.84 mV, the reset default; TI INA238
CHANNELS = (1, 2, 3)  # 4 to 6 are shunt voltages, 7 their sum
UNUSED = ("", "NC")
MAX_LABEL = 32
NO_TEXT = "\ufffd"  # read in place of a byte that is no UTF-8


@dataclass(frozen=True)
class Channel:
    """A rail, and how to read its mW; `read_mw` gives None when the files are gone or hold no number."""

    label: str
    device: str
    sensor: Sensor
    read_mw: Callable[[], float | None]


class InaPower(PowerSource):
    """See `PowerSource`. Raises PowerError when no channel gives a number."""

    kind: Kind = "power"
    default_filter_s = 1.0  # the iio driver does not report it; a step of the load takes 1 to 2 s in logs of Xavier NX

    def __init__(self, root: Path = ROOT, clock: Clock = time.perf_counter) -> None:
        self._clock = clock
        found = [
            *_hwmon_channels(root / DRIVERS),
            *_iio_channels(root / DRIVERS),
            *_ina238_channels(root / DRIVERS),
        ]
        if not found:
            raise PowerError("no INA3221 or INA238 in /sys/bus/i2c/drivers")
        alive = [channel for channel in found if channel.read_mw() is not None]
        if not alive:
            raise PowerError(f"{len(found)} INA channels, none of which can be read")
        labels = [channel.label for channel in alive]
        self._channels: Mapping[str, Channel] = {
            channel.label if labels.count(channel.label) == 1 else f"{channel.label} ({channel.device})": channel
            for channel in alive
        }
        self.sensors: Mapping[str, Sensor] = {name: channel.sensor for name, channel in self._channels.items()}
        self.name = f"{' and '.join(sorted({str(c.sensor.details['driver']) for c in alive}))} through sysfs"
        self.total_rails, self.scope = module_total(list(self._channels))

    def read(self) -> list[Reading]:
        """One reading. A missing rail is left out. Raises PowerError when all are missing."""
        before = self._clock()
        rails = {name: power for name, channel in self._channels.items() if (power := channel.read_mw()) is not None}
        if not rails:
            raise PowerError(f"{self.name}: no channel can be read any more")
        return [Reading((before + self._clock()) / 2, rails)]

    def close(self) -> None:
        pass


def _hwmon_channels(drivers: Path) -> list[Channel]:
    channels = []
    for folder in sorted(drivers.glob("ina3221/*/hwmon/hwmon*")):
        interval_ms, samples = read_number(folder / "update_interval"), read_number(folder / "samples")
        for number in CHANNELS:
            label = _label(read_text(folder / f"in{number}_label"))
            if label is None or read_number(folder / f"in{number}_enable") == 0:
                continue
            volts, amperes = folder / f"in{number}_input", folder / f"curr{number}_input"
            shunt_uohm = read_number(folder / f"shunt{number}_resistor")
            sensor = Sensor(
                step_mw=_step_mw(SHUNT_STEP_UV, shunt_uohm, read_number(volts)),
                filter_s=interval_ms / 1e3 if interval_ms and interval_ms > 0 else None,
                source="shunt*_resistor and update_interval, which is a cycle of all channels times `samples`",
                details={
                    "driver": "ina3221",
                    "shunt_uohm": shunt_uohm,
                    "samples": samples,
                    "update_interval_ms": interval_ms,
                },
            )
            channels.append(Channel(label, folder.parent.parent.name, sensor, _product(volts, amperes)))
    return channels


def _iio_channels(drivers: Path) -> list[Channel]:
    channels = []
    for folder in sorted(drivers.glob("ina3221x/*/iio:device*")):
        for number in range(len(CHANNELS)):
            label = _label(read_text(folder / f"rail_name_{number}"))
            if label is None:
                continue
            sensor = Sensor(details={"driver": "ina3221x"})
            channels.append(
                Channel(label, folder.parent.name, sensor, _scaled(folder / f"in_power{number}_input", 1.0))
            )
    return channels


def _ina238_channels(drivers: Path) -> list[Channel]:
    """The kit's input on AGX Thor's carrier: VIN, where the device tree gives no other label."""
    channels = []
    for folder in sorted(drivers.glob("ina238/*/hwmon/hwmon*")):
        given = read_text(folder / "label")
        label = "VIN" if given is None else _label(given)
        if label is None:
            continue
        shunt_uohm = read_number(folder / "shunt_resistor")
        step = _step_mw(INA238_SHUNT_STEP_UV, shunt_uohm, read_number(folder / "in1_input"))
        sensor = Sensor(step, source="shunt_resistor", details={"driver": "ina238", "shunt_uohm": shunt_uohm})
        channels.append(Channel(label, folder.parent.parent.name, sensor, _scaled(folder / "power1_input", 1e-3)))
    return channels


def _step_mw(shunt_step_uv: float, shunt_uohm: int | None, bus_mv: int | None) -> float | None:
    """Power for one step of the shunt's converter: uV / uOhm = A, times mV = mW."""
    return round(shunt_step_uv / shunt_uohm * bus_mv, 3) if shunt_uohm and bus_mv and shunt_uohm > 0 < bus_mv else None


def _product(volts: Path, amperes: Path) -> Callable[[], float | None]:
    def read_mw() -> float | None:
        mv, ma = read_number(volts), read_number(amperes)
        return None if mv is None or ma is None else mv * ma / 1e3

    return read_mw


def _scaled(path: Path, factor: float) -> Callable[[], float | None]:
    def read_mw() -> float | None:
        value = read_number(path)
        return None if value is None else value * factor

    return read_mw


def _label(text: str | None) -> str | None:
    """A rail's name; None for a channel that is not connected, or whose label is no name."""
    if text is None or text in UNUSED or "sum of shunt" in text.lower():
        return None
    return text if len(text) <= MAX_LABEL and text.isprintable() and NO_TEXT not in text else None
