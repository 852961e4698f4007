"""Changes of the machine's state between two times. Some of them invalidate the numbers measured between them."""

from __future__ import annotations

from dataclasses import dataclass

from ...machine.jetson import NVPMODEL_TABLE
from .clocks import ClockState
from .gpu import BAD_REASONS, REASONS
from .heat import COLDEST_C
from .state import MachineState
from .state_text import limits, some

OVER_CURRENT = {"oc1": "under-voltage", "oc2": "average power", "oc3": "peak power"}  # Jetson Linux r36.4 guide
# Trip points by board, from public logs; the hardware throttles at 101 to 103.
THROTTLE_BANDS_C = {"Orin": 99.0, "Thor": 109.0}
HOT_C = 90.0  # reported where the board's band is unknown
SWAP_GROWTH_MIB = 16
DRIFT = 0.01  # allowed change of a clock that is not pinned
BUSY = 0.25  # load for each core before a run


@dataclass(frozen=True)
class Change:
    """A change between two states, as text. invalidates: numbers measured between them must not be used."""

    text: str
    invalidates: bool


def describe_changes(before: MachineState, after: MachineState) -> list[Change]:
    """The changes between two states of one machine; those that invalidate numbers come first."""
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
            f"the power mode changed from {old} to {new}; measure again, and keep other programs from calling nvpmodel"
        )
    if _differ(before.nvpmodel_table, after.nvpmodel_table):
        texts.append(f"/{NVPMODEL_TABLE} changed from {before.nvpmodel_table} to {after.nvpmodel_table}; measure again")
    if _differ(before.cores, after.cores):
        texts.append(f"the number of cores changed from {before.cores} to {after.cores}; measure again")
    limits = [state.nvml and state.nvml.power_limit_mw for state in (before, after)]
    if limits[0] and limits[1] and limits[0] != limits[1]:
        texts.append(f"the GPU's power limit changed from {limits[0] / 1e3:g} to {limits[1] / 1e3:g} W; measure again")
    return texts


def _limit_changes(before: MachineState, after: MachineState) -> list[str]:
    unpinned, moved = [], []
    for old, new in _pairs(before, after):
        if old.pinned and new.pinned is False:
            unpinned.append(f"{new.name} ({limits(old)} MHz before, {limits(new)} now)")
        elif any(_differ(getattr(old, name), getattr(new, name)) for name in ("min_mhz", "max_mhz", "governor")):
            governors = f", {old.governor} to {new.governor}" if _differ(old.governor, new.governor) else ""
            moved.append(f"{new.name} ({limits(old)} MHz before, {limits(new)} now{governors})")
    texts = []
    if unpinned:
        texts.append(
            f"clocks are no longer pinned: {some(unpinned)}; {_pin_words(after)}, and measure again"
            + (" (nvpmodel and its service undo jetson_clocks)" if after.is_jetson else "")
        )
    if moved:
        texts.append(f"clock limits changed: {some(moved)}; measure again")
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
        texts.append(f"the machine throttled because of heat: {some(active)}; let it cool, and improve the cooling")
    band = _throttle_band_c(after)
    zone, hottest_c = _hottest(after)
    if band is not None and hottest_c >= band:
        texts.append(f"{zone} is at {hottest_c:g} C, and this board throttles from {band:g} C on; improve the cooling")
    rises = {name: count - before.over_current.get(name, count) for name, count in after.over_current.items()}
    events = [
        f"{name} ({OVER_CURRENT.get(name, 'over-current')}) by {rise}" for name, rise in rises.items() if rise > 0
    ]
    if events:
        texts.append(
            f"over-current events rose: {', '.join(events)}; each lowers the clocks for a moment. Use a better supply or a"
            " lower power mode"
        )
    reasons = [
        f"{name} {when}"
        for when, look in (("before", before), ("after", after))
        for name in (look.nvml and look.nvml.reasons) or ()
        if name in BAD_REASONS
    ]
    if reasons:
        texts.append(f"the GPU lowered its clocks: {some(reasons)}; check its cooling and its supply")
    return texts


def _swap_growth(before: MachineState, after: MachineState) -> list[str]:
    if before.used_swap_mib is None or after.used_swap_mib is None:
        return []
    growth = after.used_swap_mib - before.used_swap_mib
    if growth <= SWAP_GROWTH_MIB:
        return []
    return [f"swap grew by {growth} MiB to {after.used_swap_mib}; end other programs, or use a smaller batch"]


def _drift(before: MachineState, after: MachineState) -> list[str]:
    """Changes of clocks that are not pinned, a power cap, and heat where the board's band is unknown."""
    texts = []
    drifted = [
        f"{new.name} {old.now_mhz:.0f} to {new.now_mhz:.0f} MHz"
        for old, new in _pairs(before, after)
        if old.pinned is False and new.pinned is False and old.now_mhz is not None and new.now_mhz is not None
        if abs(new.now_mhz - old.now_mhz) > DRIFT * max(old.now_mhz, new.now_mhz)
    ]
    if drifted:
        texts.append(f"clocks that are not pinned changed: {some(drifted)}; for steady numbers {_pin_words(after)}")
    if any(REASONS[0x4] in ((look.nvml and look.nvml.reasons) or ()) for look in (before, after)):
        texts.append("the GPU ran at its power limit (SW power cap), as is normal under full load")
    zone, hottest_c = _hottest(after)
    if hottest_c >= HOT_C and _throttle_band_c(after) is None:
        texts.append(f"{zone} is at {hottest_c:g} C; the temperature at which this machine throttles is not known")
    return texts


def _company(before: MachineState, after: MachineState) -> list[str]:
    texts = []
    others = dict.fromkeys((*before.measuring, *after.measuring))
    if others:
        texts.append(
            f"other programs read the sensors during the run: {some(list(others))}; end them and measure again"
        )
    load, cores = before.load_1min, before.cores or 1
    if load is not None and load > max(1.0, BUSY * cores):
        texts.append(f"the machine was busy before the start: load {load:g} on {cores} cores; end other programs")
    return texts


def _differ(old: object, new: object) -> bool:
    """Whether both are known and differ."""
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
        "run sudo jetson_clocks" if state.is_jetson else "pin them (sudo cpupower frequency-set, sudo nvidia-smi -lgc)"
    )
