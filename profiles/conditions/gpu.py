"""The GPU's state by NVML: clocks, temperature, power limit, and what limits the clocks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from ..power.nvml import open_device

REASONS = {  # docs.nvidia.com, nvmlClocksEventReasons
    0x1: "idle",
    0x2: "application clocks",
    0x4: "SW power cap",
    0x8: "HW slowdown",
    0x10: "sync boost",
    0x20: "SW thermal slowdown",
    0x40: "HW thermal slowdown",
    0x80: "HW power brake",
    0x100: "display clocks",
}
BAD_REASONS = {REASONS[bit] for bit in (0x8, 0x20, 0x40, 0x80)}  # a SW power cap is normal near a GPU's limit
T = TypeVar("T")


@dataclass(frozen=True)
class NvmlState:
    """The first GPU in CUDA's order. Fields are None where NVML reports nothing. unavailable: why nothing can be read."""

    gpu: str | None = None
    driver: str | None = None
    sm_mhz: int | None = None
    sm_max_mhz: int | None = None
    memory_mhz: int | None = None
    memory_max_mhz: int | None = None
    temperature_c: int | None = None
    power_limit_mw: int | None = None
    reasons: tuple[str, ...] | None = None
    unavailable: str | None = None


def read_nvml_state(nvml: Any) -> NvmlState | None:
    """Reads NVML field by field: on Orin it starts, but reports only the name. nvml: `pynvml`, or None.

    NVML is started and ended here: its state does not survive a fork.
    """
    if nvml is None:
        return None
    try:
        nvml.nvmlInit()
    except Exception as reason:  # another release may raise anything, and reading the state must not end a run
        return NvmlState(unavailable=f"NVML does not start: {reason}")
    try:
        return _read_nvml_device(nvml, open_device(nvml))
    except Exception as reason:
        return NvmlState(unavailable=str(reason))
    finally:
        with suppress(Exception):
            nvml.nvmlShutdown()


def _read_nvml_device(nvml: Any, device: Any) -> NvmlState:
    def ask(function: str, *arguments: str) -> Any:
        """The result of a function; None where the library lacks it or the GPU does not support it."""
        return or_none(lambda: getattr(nvml, function)(device, *(getattr(nvml, name) for name in arguments)))

    reasons = ask("nvmlDeviceGetCurrentClocksEventReasons")
    if reasons is None:
        reasons = ask("nvmlDeviceGetCurrentClocksThrottleReasons")  # its name before R535
    temperature = ask("nvmlDeviceGetTemperatureV", "NVML_TEMPERATURE_GPU")
    if temperature is None:
        temperature = ask("nvmlDeviceGetTemperature", "NVML_TEMPERATURE_GPU")  # its name before CUDA 13
    return NvmlState(
        gpu=_as_text(ask("nvmlDeviceGetName")),
        driver=_as_text(or_none(nvml.nvmlSystemGetDriverVersion)),
        sm_mhz=_as_number(ask("nvmlDeviceGetClockInfo", "NVML_CLOCK_SM")),
        sm_max_mhz=_as_number(ask("nvmlDeviceGetMaxClockInfo", "NVML_CLOCK_SM")),
        memory_mhz=_as_number(ask("nvmlDeviceGetClockInfo", "NVML_CLOCK_MEM")),
        memory_max_mhz=_as_number(ask("nvmlDeviceGetMaxClockInfo", "NVML_CLOCK_MEM")),
        temperature_c=_as_number(temperature),
        power_limit_mw=_as_number(ask("nvmlDeviceGetEnforcedPowerLimit")),
        reasons=None if reasons is None else name_reasons(int(reasons)),
    )


def name_reasons(mask: int) -> tuple[str, ...]:
    """The reasons that limit a GPU's clocks, by NVML's bits; an unknown bit is given as its number."""
    bits = [1 << place for place in range(64) if mask >> place & 1]
    return tuple(REASONS.get(bit, hex(bit)) for bit in bits)


def or_none(call: Callable[[], T]) -> T | None:
    """The result of a call into a library; None when it raises anything."""
    try:
        return call()
    except Exception:
        return None


def _as_number(value: Any) -> int | None:
    return None if value is None else or_none(lambda: int(value))


def _as_text(value: Any) -> str | None:
    if value is None:
        return None
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
