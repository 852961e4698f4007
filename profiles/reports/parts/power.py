"""The part of a profile's page on power and energy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...power.energy import TOTAL
from ...results.profile_shape import Amount, Contender, Mode, PathEnergy
from ...results.result_files import traces_of
from ...timing.contenders import PLAIN
from ...timing.store import Store
from ..amounts import amount_text, is_measurable
from ..drawable import Line
from ..figures import Band, Bar, bars, lines
from ..svg import PHONE
from ..text import energy_reasons, main_contender

MW_PER_W = 1e3
MOST_SESSIONS = 8  # with a figure each: calls that continued one run

Figure = tuple[str, str]  # a caption and its SVG


def power_part(samples: Store | None, mode: Mode) -> dict[str, Any]:
    power = mode["power"]
    if power["source"] is None:
        return {"missing": power["reason"]}
    filters = sorted({sensor["filter_s"] for sensor in power["sensors"].values() if sensor["filter_s"] is not None})
    told = f"filter {', '.join(f'{value:.3g} s' for value in filters)}" if filters else "filter not known"
    rise = f"; rose in {power['rise_s'][0]:.2g} s" if power["rise_s"] and power["rise_s"][0] is not None else ""
    total = " + ".join(power["total_rails"]) or "none"
    paths = mode["paths_mj"]
    return {
        "missing": None,
        "about": f"{power['source']}, {told}{rise}. Total: {total}: {power['scope']}.",
        "timelines": [] if samples is None else _timelines(samples, mode),
        "reasons": [f"Energy was not measured: {reason}" for reason in energy_reasons(mode)]
        + ([f"Energy by path was not measured: {paths['reason']}"] if paths and paths["reason"] else [])
        + [f"The power source: {fault}" for fault in power["faults"]],
        "energies": _energies(mode, paths),
    }


def _energies(mode: Mode, paths: PathEnergy | None) -> list[Figure]:
    found = {name: (one["energy"]["mj_per_image"] or {}).get(TOTAL) for name, one in mode["contenders"].items()}
    totals = {name: one for name, one in found.items() if one is not None}
    shown = main_contender(mode)
    rails = {} if shown is None else shown["energy"]["mj_per_image"] or {}
    by_rail = {rail: one["gross"] for rail, one in rails.items() if [rail] != mode["power"]["total_rails"]}
    by_path = {
        PLAIN if path == "plain" else f"{path} path": one for path, one in (paths["mj"] if paths else {}).items()
    }
    drawings: list[tuple[str, Mapping[str, Amount | None]]] = [
        ("Energy per image, idle power included", {name: one["gross"] for name, one in totals.items()}),
        ("Energy per image above idle", {name: one["above_idle"] for name, one in totals.items()}),
        ("Energy per image by rail, idle power included", by_rail if len(by_rail) > 1 else {}),
        ("Energy of one image on each path above idle, by regression over all windows", by_path),
    ]
    return [
        (caption, bars(caption, [_bar(name, amount) for name, amount in amounts.items()], "mJ", sizes=PHONE))
        for caption, amounts in drawings
        if amounts
    ]


def _bar(name: str, amount: Amount | None) -> Bar:
    if amount is None:
        return Bar(name, None, None, "not measured")
    if not is_measurable(amount):
        return Bar(name, None, None, amount_text(amount, "mJ"))
    return Bar(name, amount["value"], amount["plus_minus"], amount_text(amount, "mJ"))


def _timelines(samples: Store, mode: Mode) -> list[Figure]:
    found = []
    sessions = [line["session"] for line in samples.of("session") if line["mode"] == mode["mode"]]
    for session in sessions[:MOST_SESSIONS]:
        total = mode["power"]["total_rails"]
        rails = [
            Line(rail, times_s, power_mw / MW_PER_W)
            for rail, times_s, power_mw in traces_of(samples, session)
            if [rail] != total  # the total is the same line
        ]
        bands = [
            Band(line["begin_s"], line["begin_s"] + line["duration_s"], line["contender"])
            for line in samples.of("window")
            if line["session"] == session
        ]
        bands += [
            Band(line["begin_s"], line["begin_s"] + line["power"]["duration_s"], "idle")
            for line in samples.of("idle")
            if line["session"] == session
        ]
        drawn = lines("Power over time", rails, "time (s)", "W", sorted(bands, key=lambda band: band.start))
        found.append(("Power over the run; the windows that count are shaded", drawn))
    return found


def gross_energy(contender: Contender) -> Amount | None:
    """The energy of an image with idle power, over all rails; None where it was not measured."""
    total = (contender["energy"]["mj_per_image"] or {}).get(TOTAL)
    return None if total is None else total["gross"]
