"""The summary of a run's power as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..power.energy import TOTAL
from ..reports.amounts import amount_text


def power_lines(power: Mapping[str, Any]) -> list[str]:
    """Lines to print behind the summary of a run. power: of `RunPower.summary`."""
    if power["source"] is None:
        return [f"power: not measured: {power['reason']}", *_machine_lines(power)]
    lines = [f"power: {power['source']}; total: {' + '.join(power['total_rails']) or 'none'}: {power['scope']}"]
    if power["w"]:
        lines.append(f"{'W':<20}{'mean':>18}{'max':>10}   over {power['measured_s']:.1f} s")
        for rail, one in _shown(power, power["w"]):
            half = one["plus_minus"]
            mean = f"{one['mean']:.3f} ± {'?' if half is None else f'{half:.3f}'}"
            lines.append(f"{rail:<20}{mean:>18}{one['max']:>10.3f}")
    lines += energy_lines(power)
    lines += _machine_lines(power)
    lines += [f"power source: after {fault}" for fault in power["faults"]]
    log = power["log"]
    if log is not None and log["lost_lines"]:
        lines.append(f"{log['file']} lacks {log['lost_lines']} lines of a second: the disk did not take them")
    return lines


def energy_lines(power: Mapping[str, Any]) -> list[str]:
    """Energy per frame and by path, or the reason why there is none."""
    energy, paths = power["mj_per_frame"], power["mj_by_path"]
    if not energy:
        return [
            f"energy: not measured: no complete window of {power['window_s']:g} s, which this sensor needs,"
            f" in {power['measured_s']:.1f} s with power"
        ]
    lines = [f"mJ per frame, idle power included, over {power['windows']} windows of {power['window_s']:g} s or more:"]
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


def _machine_lines(power: Mapping[str, Any]) -> list[str]:
    zones = power["temperatures_c"]
    lines = []
    if zones:
        zone = max(zones, key=lambda name: zones[name]["max"])
        one = zones[zone]
        lines.append(f"hottest: {zone} {one['max']:g} C, at the start {one['first']:g} C, at the end {one['last']:g} C")
    for name, at_s in power["throttled_s"].items():
        lines.append(f"throttled because of heat: {name}, seen after {at_s:.1f} s")
    return lines + [f"{'NOT STEADY' if one['invalidates'] else 'note'}: {one['text']}" for one in power["changes"]]
