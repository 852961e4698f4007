"""The machine's state as text: rows of a printed table, and phrases for other sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .clocks import ClockState
from .gpu import NvmlState
from .state import MachineState


def state_rows(state: MachineState) -> list[tuple[str, str]]:
    """Labels and texts of the known values, for a printed table."""
    system = (state.jetpack, state.l4t and f"Jetson Linux {state.l4t}", state.kernel and f"kernel {state.kernel}")
    table = f", table {state.nvpmodel_table}" if state.nvpmodel_table else ""
    active = [f"{name} {value}" for name, value in state.cooling.items() if value > 0]
    memory = (
        None if state.available_memory_mib is None else f"{state.available_memory_mib} MiB available",
        None if state.used_swap_mib is None else f"{state.used_swap_mib} MiB of swap in use",
    )
    rows = [
        ("Board", state.board),
        ("System", _joined(system)),
        ("Processor", _joined((state.processor, None if state.cores is None else f"{state.cores} cores"))),
        ("Power mode", state.power_mode and f"{state.power_mode}{table}"),
        *(("CPU clocks", text) for text in _clock_texts(state.cpu_clocks)),
        *(("GPU clock", text) for text in _clock_texts(state.gpu_clocks)),
        *(("Memory clock", text) for text in _clock_texts([state.memory_clock] if state.memory_clock else [])),
        ("Temperatures", _joined(f"{zone} {value:g} C" for zone, value in state.temperatures_c.items())),
        ("Throttling", _joined(active) or ("none" if state.cooling else None)),
        ("Over-current", _joined(f"{name} {count}" for name, count in state.over_current.items())),
        ("Memory", _joined(memory)),
        ("Load", None if state.load_1min is None else f"{state.load_1min:g} over the last minute"),
        ("Also measuring", _joined(state.measuring)),
        ("NVML", _nvml_text(state.nvml) if state.nvml else None),
    ]
    return [(label, str(text)) for label, text in rows if text]


def some(texts: Sequence[str], limit: int = 4) -> str:
    more = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + more


def _joined(parts: Iterable[str | None]) -> str:
    return ", ".join(part for part in parts if part)


def _span(low_mhz: float | None, high_mhz: float | None) -> str:
    low, high = ("?" if value is None else f"{value:.0f}" for value in (low_mhz, high_mhz))
    return low if low == high else f"{low} to {high}"


def _clock_texts(clocks: Iterable[ClockState]) -> list[str]:
    """A text for all clocks that share their limits and governor."""
    groups: dict[tuple[object, ...], list[ClockState]] = {}
    for clock in clocks:
        groups.setdefault((limits(clock), clock.governor, clock.pinned), []).append(clock)
    texts = []
    for group in groups.values():
        one, names = group[0], [clock.name.partition(" ")[2] or clock.name for clock in group]
        now = [clock.now_mhz for clock in group if clock.now_mhz is not None]
        parts = (
            f"{some(names)}: {limits(one)} MHz",
            f"now {_span(min(now), max(now))}" if now else None,
            one.governor,
            None if one.pinned is None else "pinned" if one.pinned else "not pinned",
        )
        texts.append(_joined(parts))
    return texts


def limits(clock: ClockState) -> str:
    return _span(clock.min_mhz, clock.max_mhz)


def _nvml_text(nvml: NvmlState) -> str:
    parts = (
        nvml.gpu,
        nvml.driver and f"driver {nvml.driver}",
        None if nvml.sm_mhz is None else f"SM {nvml.sm_mhz} of {nvml.sm_max_mhz or '?'} MHz",
        None if nvml.memory_mhz is None else f"memory {nvml.memory_mhz} of {nvml.memory_max_mhz or '?'} MHz",
        None if nvml.temperature_c is None else f"{nvml.temperature_c} C",
        None if nvml.power_limit_mw is None else f"limit {nvml.power_limit_mw / 1e3:g} W",
        f"clock reasons: {' and '.join(nvml.reasons)}" if nvml.reasons else None,
        nvml.unavailable,
    )
    return _joined(parts)
