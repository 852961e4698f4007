"""The summary of a run's power, as entries and as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..power.energy import TOTAL
from ..power.source import describe
from ..reports.amounts import amount_text
from .windows import Windows


def summarise_power(windows: Windows) -> dict[str, Any]:
    """Power by rail and energy per frame over a run whose windows are closed."""
    paths, energy = windows.by_path(), windows.per_frame_mj()
    return {
        **{name: value for name, value in describe(windows.sampler.source).items() if name != "sensors"},
        "w": windows.means_w() or None,
        "measured_s": round(windows.measured_s, 1),
        "windows": len(windows.measured),
        "window_s": windows.needed_s,
        "mj_per_frame": {rail: amount.to_dict() for rail, amount in energy.items()} or None,
        "mj_by_path": {path: amount.to_dict() for path, amount in paths.mj.items()} or None,
        "mj_by_path_reason": paths.reason,
        "faults": list(windows.sampler.faults),
    }


def power_lines(power: Mapping[str, Any]) -> list[str]:
    """Power and energy as text. power: of `summarise_power`."""
    if power["source"] is None:
        return [f"power: not measured: {power['reason']}"]
    lines = [f"power: {power['source']}", f"total: {' + '.join(power['total_rails']) or 'none'}: {power['scope']}"]
    if power["w"]:
        lines.append(f"{'W':<20}{'mean':>18}{'max':>10}   over {power['measured_s']:.1f} s")
        for rail, one in _shown(power, power["w"]):
            half = one["plus_minus"]
            mean = f"{one['mean']:.3f} ± {'?' if half is None else f'{half:.3f}'}"
            lines.append(f"{rail:<20}{mean:>18}{one['max']:>10.3f}")
    lines += _energy_lines(power)
    return lines + [f"power source: after {fault}" for fault in power["faults"]]


def _energy_lines(power: Mapping[str, Any]) -> list[str]:
    """Energy per frame and by path, or the reason why there is none."""
    energy, paths = power["mj_per_frame"], power["mj_by_path"]
    if not energy:
        return [
            f"energy: not measured: no complete window of {power['window_s']:g} s, which this sensor needs,"
            f" in {power['measured_s']:.1f} s with power"
        ]
    lines = [f"mJ per frame, idle power included; windows of {power['window_s']:g} s or more: {power['windows']}"]
    lines += [f"  {rail:<18}{amount_text(amount, 'mJ'):>22}" for rail, amount in _shown(power, energy)]
    if paths:
        told = ", ".join(f"{path} {amount_text(amount, 'mJ')}" for path, amount in paths.items())
        lines.append(f"  by path, from windows with different exit rates: {told}")
    elif TOTAL in energy:
        lines.append(f"  by path: not measured: {power['mj_by_path_reason']}")
    return lines


def _shown(power: Mapping[str, Any], table: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The total, and the rails behind it; not the rail that alone is the total."""
    rows = [(rail, one) for rail, one in table.items() if TOTAL not in table or [rail] != power["total_rails"]]
    return sorted(rows, key=lambda row: row[0] != TOTAL)


def machine_lines(power: Mapping[str, Any]) -> list[str]:
    """Heat and what else changed, and what the log lacks. power: of `RunPower.summary`."""
    zones = power["temperatures_c"]
    lines = []
    if zones:
        zone = max(zones, key=lambda name: zones[name]["max"])
        one = zones[zone]
        lines.append(f"hottest: {zone} {one['max']:g} C, at the start {one['first']:g} C, at the end {one['last']:g} C")
    for name, at_s in power["throttled_s"].items():
        lines.append(f"throttled because of heat: {name}, seen after {at_s:.1f} s")
    lines += [f"{'NOT STEADY' if one['invalidates'] else 'note'}: {one['text']}" for one in power["changes"]]
    log = power["log"]
    if log is not None and log["lost_lines"]:
        lines.append(f"{log['file']} lacks {log['lost_lines']} lines of a second: the disk did not take them")
    return lines
