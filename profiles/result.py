"""What a run says, from its lines: latency by stage and path, energy, break-even, and whether it is to be trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..runtime.statistics import PERCENTILES, percentile
from .break_even import break_even
from .contenders import ALWAYS, NEVER, PLAIN, STAGES
from .energy import TOTAL, Idle, PowerWindow, Spent, dynamic_mj, gross_mj, idle_of
from .regression import Row, fit_paths
from .scenarios import judge
from .store import Store

ALIKE = 0.99  # exit rate below which the 99th percentile of all frames is the full path's


def distribution(values: npt.NDArray[Any] | Sequence[float]) -> dict[str, Any]:
    """n, and of the values in ms: median, mean, percentiles by trtexec's rule, extremes, coefficient of variation."""
    numbers = np.sort(np.asarray(values, dtype=np.float64))
    if not len(numbers):
        return {"n": 0}
    mean = float(numbers.mean())
    deviation = float(numbers.std(ddof=1)) if len(numbers) > 1 else 0.0
    named = {"median_ms": float(np.median(numbers)), "mean_ms": mean}
    named |= {f"p{percent}_ms": float(percentile(numbers, percent)) for percent in PERCENTILES}  # type: ignore[arg-type]
    named |= {"min_ms": numbers[0], "max_ms": numbers[-1], "cov": deviation / mean if mean > 0 else 0.0}
    return {"n": len(numbers), **{name: float(f"{value:.6g}") for name, value in named.items()}}


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
            {"mode": line["mode"], "reason": line["reason"]} for line in _last_by(store.of("skipped"), "mode")
        ],
        "modes": [_summarise_mode(store, mode) for mode in modes],
    }


def _last_by(lines: Sequence[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    return list({line[key]: line for line in lines}.values())


def _summarise_mode(store: Store, mode: int | None) -> dict[str, Any]:
    sessions = [line for line in store.of("session") if line["mode"] == mode]
    numbers = {line["session"] for line in sessions}
    windows: dict[str, list[dict[str, Any]]] = {}
    for line in store.of("window"):
        if line["mode"] == mode:
            windows.setdefault(line["contender"], []).append(line)
    idles = [line for line in store.of("idle") if line["session"] in numbers]
    idle = idle_of([_power(line["power"]) for line in idles])
    states = [line for line in store.of("state") if line["session"] in numbers]
    changes = [change for line in states for change in line["changes"]]
    scenario = store.lines[0].get("scenario")
    contenders = {name: _summarise_contender(store, lines, idle, scenario) for name, lines in windows.items()}
    return {
        "mode": mode,
        "dates": [line["date"] for line in sessions],
        "valid": not any(change["invalidates"] for change in changes),
        "changes": changes,
        "state": {
            "before": states[0]["before"],
            "after": states[-1]["after"],
            "rows_before": states[0]["rows_before"],
            "rows_after": states[-1]["rows_after"],
        }
        if states
        else None,
        "power": {
            **sessions[-1]["power"],
            "schedule": sessions[-1]["schedule"],
            "idle_mw": None if idle is None else _rounded(idle.mean_mw),
            "idle_plus_minus_mw": None if idle is None else _rounded(idle.bound_mw),
            "rise_s": [line["rise_s"] for line in store.of("rise") if line["session"] in numbers][-1:],
            "faults": [fault for line in store.of("trace") if line["session"] in numbers for fault in line["faults"]],
        },
        "main": _main(contenders, store.lines[0].get("stored_threshold")),
        "contenders": contenders,
        "paths_mj": _paths(windows, idles),
        "break_even": _break_even(contenders),
        "warnings": _warnings(contenders),
    }


def _summarise_contender(
    store: Store, lines: Sequence[dict[str, Any]], idle: Idle | None, scenario: str | None
) -> dict[str, Any]:
    arrays = pooled(store, lines)
    total, survivors = arrays["total"], arrays["survivors"]
    images, duration_s = sum(line["images"] for line in lines), sum(line["duration_s"] for line in lines)
    counts: dict[str, int] = {}
    for line in lines:
        for path, count in line["counts"].items():
            counts[path] = counts.get(path, 0) + count
    name = lines[0]["contender"]
    is_plain = name == PLAIN
    stages = {stage: distribution(arrays[stage]) for stage in STAGES if not is_plain or stage not in ("gate", "SAC")}
    if not is_plain:
        stages["SAC"] = distribution(arrays["SAC"][survivors > 0])
    paths = {"all": distribution(total)}
    if not is_plain:
        paths |= {"exit": distribution(total[survivors == 0]), "full": distribution(total[survivors > 0])}
    spent = [Spent(_power(line["power"]), line["images"]) for line in lines]
    return {
        "threshold": lines[0]["threshold"],
        "windows": len(lines),
        "lead_passes": sum(line["lead_passes"] for line in lines),
        "images": images,
        "duration_s": round(duration_s, 4),
        "counts": counts,
        "exit_rate": None if is_plain else round(counts.get("exit", 0) / images, 6),
        "throughput": float(f"{images / duration_s:.6g}"),
        "ms_per_image": float(f"{1e3 * duration_s / images:.6g}"),
        "stages_ms": stages,
        "paths_ms": paths,
        "energy": _energy(spent, idle),
        "scenario": None if scenario is None else judge(scenario, list(total), images, duration_s),
    }


def pooled(store: Store, lines: Sequence[dict[str, Any]]) -> dict[str, npt.NDArray[Any]]:
    """The arrays of all windows of one contender, one behind the other."""
    all_arrays = [store.arrays(line) for line in lines]
    return {name: np.concatenate([arrays[name] for arrays in all_arrays]) for name in all_arrays[0]}


def _energy(spent: Sequence[Spent], idle: Idle | None) -> dict[str, Any]:
    """By rail: gross and above idle, mJ an image; or null, and why."""
    reason = next((one.power.reason for one in spent if one.power.reason is not None), None)
    if reason is not None:
        return {"mj_per_image": None, "reason": reason}
    by_rail = {}
    for rail in spent[0].power.mean_mw:
        gross, dynamic = gross_mj(spent, rail), dynamic_mj(spent, rail, idle)
        watts = sum(one.power.mean_mw[rail] * one.power.duration_s for one in spent)
        by_rail[rail] = {
            "gross": None if gross is None else gross.to_dict(),
            "above_idle": None if dynamic is None else dynamic.to_dict(),
            "mean_mw": float(f"{watts / sum(one.power.duration_s for one in spent):.6g}"),
        }
    return {"mj_per_image": by_rail, "reason": None}


def _main(contenders: Mapping[str, dict[str, Any]], stored: float | None) -> str | None:
    """The chain that is shown in full: at the stored threshold, or else the first one."""
    chains = [name for name, one in contenders.items() if one["threshold"] is not None]
    return next((name for name in chains if contenders[name]["threshold"] == stored), chains[0] if chains else None)


def _paths(windows: Mapping[str, Sequence[dict[str, Any]]], idles: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Energy by path, by regression over every window and the idle ones; None without power."""
    rows = []
    for line in [line for lines in windows.values() for line in lines] + list(idles):
        power = _power(line["power"])
        if power.reason is None and TOTAL in power.mean_mw:
            rows.append(Row(power.mean_mw[TOTAL], power.bound_mw[TOTAL], power.duration_s, line.get("counts", {})))
    if not rows:
        return None
    fit = fit_paths(rows)
    return {
        "mj": {path: amount.to_dict() for path, amount in fit.mj.items()},
        "idle_mw": None if fit.idle_mw is None else fit.idle_mw.to_dict(),
        "residual_mw": round(fit.residual_mw, 3),
        "windows": fit.windows,
        "reason": fit.reason,
    }


def _break_even(contenders: Mapping[str, dict[str, Any]]) -> dict[str, Any] | None:
    """For every threshold: latency and gross energy against the plain ViT's; None where it was not measured."""
    if not {ALWAYS, NEVER, PLAIN} <= set(contenders):
        return None
    found: dict[str, Any] = {}
    for name, contender in contenders.items():
        if contender["threshold"] is None:
            continue
        found[name] = {}
        for unit, cost in (("latency", _latency_ms), ("energy", _gross_mj)):
            costs = [value for path in (ALWAYS, NEVER, PLAIN) if (value := cost(contenders[path])) is not None]
            told = break_even(costs[0], costs[1], costs[2], contender["exit_rate"]) if len(costs) == 3 else None
            found[name][unit] = None if told is None else told.to_dict()
    return found


def _latency_ms(contender: Mapping[str, Any]) -> float | None:
    return float(contender["ms_per_image"])


def _gross_mj(contender: Mapping[str, Any]) -> float | None:
    table = contender["energy"]["mj_per_image"]
    return None if table is None or TOTAL not in table else float(table[TOTAL]["gross"]["value"])


def _warnings(contenders: Mapping[str, dict[str, Any]]) -> list[str]:
    mixed = [
        f"{name} ({contender['exit_rate']:.1%} exit)"
        for name, contender in contenders.items()
        if contender["threshold"] is not None and 0 < contender["exit_rate"] < ALIKE
    ]
    return [f"the 99th percentile of {', '.join(mixed)} is the full path's: a mean hides it"] if mixed else []


def _power(content: Mapping[str, Any]) -> PowerWindow:
    return PowerWindow(content["duration_s"], content["mean_mw"], content["bound_mw"], content["reason"])


def _rounded(table: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else round(value, 2) for name, value in table.items()}
