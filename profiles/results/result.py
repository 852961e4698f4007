"""The result of a run from its lines: latency by stage and path, energy, break-even, and reasons against them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..power.energy import TOTAL, idle_of
from ..power.energy_by_path import Paths, Row, fit_paths
from ..timing.contenders import ALWAYS, NEVER, PLAIN
from ..timing.load_watch import SHORTEST_S
from ..timing.schedule import LEADS
from ..timing.store import Store
from .contender import costs_of, power_window, summarise_contender
from .disturbances import disturbed_windows, rounds_apart, wrong_order
from .pay_off import pay_off

MOST_RISE = 1.5  # measured over assumed time constant of the filter
SHARED = "these engines compute the same for one survivor of a batch as for all: an image costs the same on every path"
ALIKE = 0.99  # exit rate below which the 99th percentile of all frames is the full path's


def summarise(store: Store) -> dict[str, Any]:
    """The result of everything that the store holds; a part for each power mode."""
    header = {name: value for name, value in store.lines[0].items() if name != "kind"}
    modes = list(dict.fromkeys(line["mode"] for line in store.of("session")))
    return {
        **header,
        "command": [line["command"] for line in store.of("command")],
        "parts": [{name: value for name, value in line.items() if name != "kind"} for line in store.of("parts")][-1:],
        "layers": [line["stages"] for line in store.of("layers")][-1:],
        "skipped_modes": [
            {"mode": line["mode"], "reason": line["reason"]}
            for line in _last_by(store.of("skipped"), "mode")
            if line["mode"] not in modes
        ],
        "modes": [_summarise_mode(store, mode) for mode in modes],
    }


def _last_by(lines: Sequence[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    return list({line[key]: line for line in lines}.values())


def _summarise_mode(store: Store, mode: int | None) -> dict[str, Any]:
    sessions = [line for line in store.of("session") if line["mode"] == mode]
    numbers = {line["session"] for line in sessions}

    def of(kind: str) -> list[dict[str, Any]]:
        return [line for line in store.of(kind) if line["session"] in numbers]

    windows: dict[str, list[dict[str, Any]]] = {}
    for line in of("window"):
        windows.setdefault(line["contender"], []).append(line)
    idles = of("idle")
    idle = {number: idle_of([power_window(line) for line in idles if line["session"] == number]) for number in numbers}
    contenders = {name: summarise_contender(store, lines, idle) for name, lines in windows.items()}
    shown = idle[sessions[-1]["session"]]
    power = {
        **sessions[-1]["power"],
        "schedule": sessions[-1]["schedule"],
        "idle_mw": None if shown is None else _rounded(shown.mean_mw),
        "idle_plus_minus_mw": None if shown is None else _rounded(shown.bound_mw),
        "rise_s": [line["rise_s"] for line in of("rise")][-1:],
        "faults": [fault for line in of("trace") for fault in line["faults"]],
    }
    is_linear = not store.lines[0].get("survivors_share")
    pays = _break_even(windows, contenders, is_linear=is_linear, batch=store.lines[0]["batch"])
    beyond, within = wrong_order(windows, contenders)
    spoilt = [*disturbed_windows(windows, idles), *rounds_apart(windows), *beyond, *_contradictions(pays)]
    states = of("state")
    changes = [{"text": text, "invalidates": True} for text in spoilt]
    changes += [change for line in states for change in line["changes"]]
    return {
        "mode": mode,
        "dates": [line["date"] for line in sessions],
        "valid": _is_valid(changes, is_known={line["session"] for line in states} == numbers),
        "changes": changes,
        "state": _state(of("look"), states),
        "power": power,
        "main": _main(contenders, store.lines[0].get("stored_threshold")),
        "contenders": contenders,
        "paths_mj": _paths(windows, idles, is_linear=is_linear),
        "break_even": pays,
        "warnings": [*_warnings(contenders), *within, *_slow_sensor(power), *_unwatched(contenders)],
    }


def _is_valid(changes: Sequence[Mapping[str, Any]], *, is_known: bool) -> bool | None:
    """None: a session was killed, so that the state of the machine after it is not known."""
    if any(change["invalidates"] for change in changes):
        return False
    return True if is_known else None


def _state(looks: Sequence[Mapping[str, Any]], states: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The machine before the first session and after the last one."""
    if not looks:
        return None
    return {
        "before": looks[0]["before"],
        "rows_before": looks[0]["rows_before"],
        "after": states[-1]["after"] if states else None,
        "rows_after": states[-1]["rows_after"] if states else [],
    }


def _main(contenders: Mapping[str, dict[str, Any]], stored: float | None) -> str | None:
    """The chain that is shown in full: at the stored threshold, or else the first one."""
    chains = [name for name, one in contenders.items() if one["threshold"] is not None]
    return next((name for name in chains if contenders[name]["threshold"] == stored), chains[0] if chains else None)


def _paths(
    windows: Mapping[str, Sequence[dict[str, Any]]], idles: Sequence[dict[str, Any]], *, is_linear: bool
) -> dict[str, Any] | None:
    """Energy by path, by regression over every window and the idle ones; None without power."""
    rows = []
    for line in [line for lines in windows.values() for line in lines] + list(idles):
        power = power_window(line)
        if power.reason is None and TOTAL in power.mean_mw:
            rows.append(
                Row(
                    power.mean_mw[TOTAL],
                    power.bound_mw[TOTAL],
                    power.duration_s,
                    line.get("counts", {}),
                    line["session"],
                )
            )
    if not rows:
        return None
    fit = fit_paths(rows)
    if not is_linear:
        fit = Paths({}, None, 0.0, len(rows), SHARED)
    return {
        "mj": {path: amount.to_dict() for path, amount in fit.mj.items()},
        "idle_mw": None if fit.idle_mw is None else fit.idle_mw.to_dict(),
        "residual_mw": round(fit.residual_mw, 3),
        "windows": fit.windows,
        "reason": fit.reason,
    }


def _break_even(
    windows: Mapping[str, Sequence[dict[str, Any]]],
    contenders: Mapping[str, dict[str, Any]],
    *,
    is_linear: bool,
    batch: int,
) -> dict[str, Any]:
    """For every threshold: latency and gross energy against the plain ViT's; null and the reason where they were not
    measured."""
    if not {ALWAYS, NEVER, PLAIN} <= set(contenders):
        missing = "no plain ViT was measured: --plain plain.onnx, which sacvit-export --plain writes"
        return {
            "by_threshold": None,
            "reason": missing if PLAIN not in contenders else "the paths were not measured apart",
        }
    if not is_linear:
        return {"by_threshold": None, "reason": SHARED}
    by_unit = {name: costs_of(lines) for name, lines in windows.items()}
    found: dict[str, Any] = {}
    for name, contender in contenders.items():
        if contender["threshold"] is None:
            continue
        rates = {line["round"]: line["counts"].get("exit", 0) / line["images"] for line in windows[name]}
        found[name] = {}
        for unit in ("latency", "energy"):
            costs = {part: by_unit[part].get(unit) for part in (ALWAYS, NEVER, PLAIN, name)}
            known = {part: cost for part, cost in costs.items() if cost is not None}
            told = pay_off(known, name, contender["exit_rate"], rates, batch) if len(known) == len(costs) else None
            found[name][unit] = None if told is None else told.to_dict()
    return {"by_threshold": found, "reason": None}


def _contradictions(break_even: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}, {unit}: {told['text']}"
        for name, units in (break_even["by_threshold"] or {}).items()
        for unit, told in units.items()
        if told is not None and told["verdict"] == "contradiction"
    ]


def _warnings(contenders: Mapping[str, dict[str, Any]]) -> list[str]:
    mixed = [
        f"{name} ({contender['exit_rate']:.1%} exit)"
        for name, contender in contenders.items()
        if contender["threshold"] is not None and 0 < contender["exit_rate"] < ALIKE
    ]
    return (
        [f"the 99th percentile of {', '.join(mixed)} is that of the full path; the mean does not show it"]
        if mixed
        else []
    )


def _unwatched(contenders: Mapping[str, dict[str, Any]]) -> list[str]:
    """Reasons that a disturbance could not be detected."""
    loads = [contender["load"] for contender in contenders.values()]
    if None in loads:
        return ["this system does not count processor time: whether other programs disturbed the windows is not known"]
    shortest = min((load["shortest_window_s"] for load in loads), default=SHORTEST_S)
    if shortest < SHORTEST_S:
        return [f"windows of {shortest:.2g} s are too short to show whether other programs disturbed them"]
    return []


def _slow_sensor(power: Mapping[str, Any]) -> list[str]:
    """Reports a sensor that is slower than assumed: its idle readings still contain load."""
    told = [sensor["filter_s"] for sensor in power.get("sensors", {}).values() if sensor["filter_s"] is not None]
    assumed = power["schedule"]["lead_s"] / LEADS
    rise = power["rise_s"][0] if power["rise_s"] else None
    if rise is None or rise <= MOST_RISE * max(*told, assumed, 0.0):
        return []
    return [
        f"power took {rise:.2g} s to rise, but the sensor's filter was assumed to be {assumed:.2g} s:"
        " energy above idle is underestimated"
    ]


def _rounded(table: Mapping[str, float] | Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: None if value is None or math.isnan(value) else round(value, 2) for name, value in table.items()}
