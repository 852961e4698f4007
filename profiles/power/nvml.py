"""NVML: power of a desktop or data-center GPU, by nvidia-ml-py. On Orin it initialises, but has no power readings.

The first reading that a GPU supports is used: the energy counter, then instantaneous power, then NVML's own average.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from .source import Clock, Kind, PowerError, PowerSource, Reading, Sensor

RAIL = "GPU board"
# (name, kind, filter in s, source): NVIDIA's NVML reference; arXiv 2312.02741; ml.energy, "measuring GPU energy"
WAYS: tuple[tuple[str, Kind, float, str], ...] = (
    ("energy counter", "energy", 0.1, "the counter moves every 10 to 100 ms"),
    ("instantaneous power", "power", 0.1, "NVML_FI_DEV_POWER_INSTANT; A100 and H100 look at a quarter of the time"),
    ("power usage", "power", 1.0, "the mean of a second on Ampere and newer"),
)


class NvmlPower(PowerSource):
    """See `PowerSource`. nvml: the module `pynvml`. Raises PowerError when no way to read power works."""

    default_filter_s = 1.0
    scope = "the GPU's board; processor and memory of the machine lie outside"

    def __init__(self, clock: Clock = time.perf_counter, nvml: Any = None) -> None:
        self._clock = clock
        self._nvml = load_nvml() if nvml is None else nvml
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError as reason:
            raise PowerError(f"NVML does not start: {reason}") from None
        try:
            self._device = open_device(self._nvml)
            self._read, way = self._find_way()
        except PowerError:
            self._nvml.nvmlShutdown()
            raise
        name, self.kind, filter_s, source = way
        self.name = f"NVML, {name}"
        self.sensors: Mapping[str, Sensor] = {RAIL: Sensor(None, filter_s, source)}
        self.total_rails: tuple[str, ...] = (RAIL,)

    def _find_way(self) -> tuple[Callable[[], float], tuple[str, Kind, float, str]]:
        reasons = []
        for read, way in zip((self._energy_mj, self._instant_mw, self._usage_mw), WAYS, strict=True):
            try:
                if read() > 0:
                    return read, way
                reasons.append(f"{way[0]}: 0")
            except (self._nvml.NVMLError, PowerError, AttributeError) as reason:  # an older pynvml lacks a name
                reasons.append(f"{way[0]}: {reason}")
        raise PowerError(f"NVML starts but reports no power ({'; '.join(reasons)})")

    def _energy_mj(self) -> float:
        return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._device))

    def _instant_mw(self) -> float:
        (value,) = self._nvml.nvmlDeviceGetFieldValues(self._device, [self._nvml.NVML_FI_DEV_POWER_INSTANT])
        if value.nvmlReturn != self._nvml.NVML_SUCCESS:
            raise PowerError(str(self._nvml.NVMLError(value.nvmlReturn)))
        return float(value.value.uiVal)

    def _usage_mw(self) -> float:
        return float(self._nvml.nvmlDeviceGetPowerUsage(self._device))

    def read(self) -> list[Reading]:
        """One reading; see `PowerSource`."""
        before = self._clock()
        try:
            value = self._read()
        except self._nvml.NVMLError as reason:
            raise PowerError(f"{self.name}: {reason}") from None
        return [Reading((before + self._clock()) / 2, {RAIL: value})]

    def close(self) -> None:
        self._nvml.nvmlShutdown()


def load_nvml() -> Any:
    """The module of nvidia-ml-py. Raises PowerError when it is not installed."""
    try:
        import pynvml
    except ImportError:
        raise PowerError("nvidia-ml-py is not installed: pip install 'sacvit[nvml]'") from None
    return pynvml


def open_device(nvml: Any) -> Any:
    """The handle of the GPU that CUDA calls its first. Raises PowerError when it is unknown which one that is."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0].strip()
    try:
        if first.startswith("GPU-"):
            return nvml.nvmlDeviceGetHandleByUUID(first)
        if not first.isdecimal():
            raise PowerError(f"CUDA_VISIBLE_DEVICES={first}: power is of whole GPUs; give a number or GPU-...")
        # CUDA orders GPUs by speed, NVML by PCI address. They agree for a single GPU, or with CUDA_DEVICE_ORDER=PCI_BUS_ID.
        if nvml.nvmlDeviceGetCount() > 1 and os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
            raise PowerError("several GPUs: set CUDA_DEVICE_ORDER=PCI_BUS_ID, so that NVML measures the one in use")
        return nvml.nvmlDeviceGetHandleByIndex(int(first))
    except nvml.NVMLError as reason:
        raise PowerError(f"NVML finds no GPU {first}: {reason}") from None
