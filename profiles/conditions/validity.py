"""A look at the machine in words, and what changed between two looks: some changes make the numbers between worthless."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...machine.jetson import NVPMODEL_TABLE
from .state import COLDEST_C, REASONS, ClockState, MachineState, NvmlState

OVER_CURRENT = {"oc1": "under-voltage", "oc2": "average power", "oc3": "peak power"}  # Jetson Linux r36.4 guide
THROTTLE_BANDS_C = {
    "Orin": 99.0,
    "Thor": 109.0,
}  # by board: trip points of public logs; hardware steps in at 101 to 103
HOT_C = 90.0  # worth telling where the band is not known
SWAP_GROWTH_MIB = 16
DRIFT = 0.01  # of a clock that nothing holds
BUSY = 0.25  # load for each core before a run
BAD_REASONS = {REASONS[bit] for bit in (0x8, 0x20, 0x40, 0x80)}  # a SW power cap is normal near a GPU's limit


@dataclass(frozen=True)
class Change:
    """What happened between two looks, for people; invalidates: the numbers of that time are not to be used."""

    text: str
    invalidates: bool


def describe_changes(before: MachineState, after: MachineState) -> list[Change]:
    """What happened between two looks at one machine; what invalidates the numbers comes first."""
    bad = [
        *_mode_changes(before, after),
        *_limit_changes(before, after),
        *_slowdowns(before, after),
        *_swap_growth(before, after),
    ]
    told = [*_drift(before, after), *_company(before, after)]
    return [Change(text, True) for text in bad] + [Change(text, False) for text in told]


def _mode_changes(before: MachineState, after: MachineState) -> list[str]:
    texts = []
    old, new = before.power_mode, after.power_mode
    if old and new and (old.id != new.id or _differ(old.name, new.name)):
        texts.append(
            f"the power mode changed from {old} to {new}; measure again, and let nothing call nvpmodel meanwhile"
        )
    if _differ(before.nvpmodel_table, after.nvpmodel_table):
        texts.append(f"/{NVPMODEL_TABLE} changed from {before.nvpmodel_table} to {after.nvpmodel_table}; measure again")
    if _differ(before.cores, after.cores):
        texts.append(f"the cores went from {before.cores} to {after.cores}; measure again")
    limits = [state.nvml and state.nvml.power_limit_mw for state in (before, after)]
    if limits[0] and limits[1] and limits[0] != limits[1]:
        texts.append(f"the GPU's power limit moved from {limits[0] / 1e3:g} to {limits[1] / 1e3:g} W; measure again")
    return texts


def _limit_changes(before: MachineState, after: MachineState) -> list[str]:
    unpinned, moved = [], []
    for old, new in _pairs(before, after):
        if old.pinned and new.pinned is False:
            unpinned.append(f"{new.name} ({_limits(old)} MHz before, {_limits(new)} now)")
        elif any(_differ(getattr(old, name), getattr(new, name)) for name in ("min_mhz", "max_mhz", "governor")):
            governors = f", {old.governor} to {new.governor}" if _differ(old.governor, new.governor) else ""
            moved.append(f"{new.name} ({_limits(old)} MHz before, {_limits(new)} now{governors})")
    texts = []
    if unpinned:
        texts.append(
            f"pinned clocks came loose: {_some(unpinned)}; {_pin_words(after)}, and measure again"
            + (" (nvpmodel and its service undo jetson_clocks)" if after.is_jetson else "")
        )
    if moved:
        texts.append(f"limits of clocks moved: {_some(moved)}; measure again")
    return texts


def _slowdowns(before: MachineState, after: MachineState) -> list[str]:
    texts = []
    active = [
        f"{name} at {state} {when}"
        for when, look in (("before", before), ("after", after))
        for name, state in look.cooling.items()
        if state > 0
    ]
    if active:
        texts.append(f"clocks were held down against heat: {_some(active)}; let it cool, and turn the fan up")
    band = _throttle_band_c(after)
    zone, hottest_c = _hottest(after)
    if band is not None and hottest_c >= band:
        texts.append(f"{zone} is at {hottest_c:g} C, and this board slows down from {band:g} C; better cooling")
    rises = {name: count - before.over_current.get(name, count) for name, count in after.over_current.items()}
    events = [
        f"{name} ({OVER_CURRENT.get(name, 'over-current')}) by {rise}" for name, rise in rises.items() if rise > 0
    ]
    if events:
        texts.append(
            f"over-current events, each of which lowers the clocks for a moment, rose: {', '.join(events)};"
            " a better supply or a lower power mode"
        )
    reasons = [
        f"{name} {when}"
        for when, look in (("before", before), ("after", after))
        for name in (look.nvml and look.nvml.reasons) or ()
        if name in BAD_REASONS
    ]
    if reasons:
        texts.append(f"the GPU slowed itself down: {_some(reasons)}; look after its cooling and its supply")
    return texts


def _swap_growth(before: MachineState, after: MachineState) -> list[str]:
    if before.used_swap_mib is None or after.used_swap_mib is None:
        return []
    growth = after.used_swap_mib - before.used_swap_mib
    if growth <= SWAP_GROWTH_MIB:
        return []
    return [f"swap grew by {growth} MiB to {after.used_swap_mib}; end other programs, or use a smaller batch"]


def _drift(before: MachineState, after: MachineState) -> list[str]:
    """Clocks that nothing holds, a power cap, and heat where no band is known."""
    texts = []
    drifted = [
        f"{new.name} {old.now_mhz:.0f} to {new.now_mhz:.0f} MHz"
        for old, new in _pairs(before, after)
        if old.pinned is False and new.pinned is False and old.now_mhz is not None and new.now_mhz is not None
        if abs(new.now_mhz - old.now_mhz) > DRIFT * max(old.now_mhz, new.now_mhz)
    ]
    if drifted:
        texts.append(f"clocks that nothing holds moved: {_some(drifted)}; for steady numbers {_pin_words(after)}")
    if any(REASONS[0x4] in ((look.nvml and look.nvml.reasons) or ()) for look in (before, after)):
        texts.append("the GPU ran at its power limit (SW power cap), as is normal under full load")
    zone, hottest_c = _hottest(after)
    if hottest_c >= HOT_C and _throttle_band_c(after) is None:
        texts.append(f"{zone} is at {hottest_c:g} C; where this machine slows down is not known")
    return texts


def _company(before: MachineState, after: MachineState) -> list[str]:
    texts = []
    others = dict.fromkeys((*before.measuring, *after.measuring))
    if others:
        texts.append(
            f"other programs read the sensors meanwhile: {_some(list(others))}; end them for undisturbed numbers"
        )
    load, cores = before.load_1min, before.cores or 1
    if load is not None and load > max(1.0, BUSY * cores):
        texts.append(f"the machine was busy before the start: load {load:g} on {cores} cores; end other programs")
    return texts


def state_rows(state: MachineState) -> list[tuple[str, str]]:
    """Label and text of what is known, for a printed table."""
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


def _differ(old: object, new: object) -> bool:
    """Whether both are known and not the same."""
    return old is not None and new is not None and old != new


def _pairs(before: MachineState, after: MachineState) -> list[tuple[ClockState, ClockState]]:
    olds = {clock.name: clock for clock in before.clocks}
    return [(olds[clock.name], clock) for clock in after.clocks if clock.name in olds]


def _hottest(state: MachineState) -> tuple[str, float]:
    return max(state.temperatures_c.items(), key=lambda item: item[1], default=("", COLDEST_C))


def _throttle_band_c(state: MachineState) -> float | None:
    return next((band for name, band in THROTTLE_BANDS_C.items() if name in (state.board or "")), None)


def _pin_words(state: MachineState) -> str:
    return (
        "run sudo jetson_clocks" if state.is_jetson else "hold them (sudo cpupower frequency-set, sudo nvidia-smi -lgc)"
    )


def _some(texts: Sequence[str], limit: int = 4) -> str:
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
        groups.setdefault((_limits(clock), clock.governor, clock.pinned), []).append(clock)
    texts = []
    for group in groups.values():
        one, names = group[0], [clock.name.partition(" ")[2] or clock.name for clock in group]
        now = [clock.now_mhz for clock in group if clock.now_mhz is not None]
        parts = (
            f"{_some(names)}: {_limits(one)} MHz",
            f"now {_span(min(now), max(now))}" if now else None,
            one.governor,
            None if one.pinned is None else "pinned" if one.pinned else "not pinned",
        )
        texts.append(_joined(parts))
    return texts


def _limits(clock: ClockState) -> str:
    return _span(clock.min_mhz, clock.max_mhz)


def _nvml_text(nvml: NvmlState) -> str:
    parts = (
        nvml.gpu,
        nvml.driver and f"driver {nvml.driver}",
        None if nvml.sm_mhz is None else f"SM {nvml.sm_mhz} of {nvml.sm_max_mhz or '?'} MHz",
        None if nvml.memory_mhz is None else f"memory {nvml.memory_mhz} of {nvml.memory_max_mhz or '?'} MHz",
        None if nvml.temperature_c is None else f"{nvml.temperature_c} C",
        None if nvml.power_limit_mw is None else f"limit {nvml.power_limit_mw / 1e3:g} W",
        f"clocks held by {' and '.join(nvml.reasons)}" if nvml.reasons else None,
        nvml.unavailable,
    )
    return _joined(parts)
