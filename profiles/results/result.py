"""What a run says, from its lines: latency by stage and path, energy, break-even, and whether it is to be trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...runtime.percentiles import PERCENTILES, percentile
from ..power.energy import TOTAL, Idle, PowerWindow, Spent, dynamic_mj, gross_mj, idle_of
from ..power.energy_by_path import Paths, Row, fit_paths
from ..timing.contenders import ALWAYS, NEVER, PLAIN, STAGES
from ..timing.scenarios import judge
from ..timing.session import LEADS
from ..timing.store import Store
from .break_even import break_even

MOST_RISE = 1.5  # times the filter that was assumed
SHARED = "these engines compute the same for one survivor of a batch as for all: the cost of an image is not its path's"
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
    idle = {
        number: idle_of([_power(line["power"]) for line in idles if line["session"] == number]) for number in numbers
    }
    looks, states = of("look"), of("state")
    changes = [change for line in states for change in line["changes"]]
    is_spoilt = any(change["invalidates"] for change in changes)
    is_known = {line["session"] for line in states} == numbers
    scenario = store.lines[0].get("scenario")
    contenders = {name: _summarise_contender(store, lines, idle, scenario) for name, lines in windows.items()}
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
    return {
        "mode": mode,
        "dates": [line["date"] for line in sessions],
        "valid": False
        if is_spoilt
        else True
        if is_known
        else None,  # None: a session was killed, nobody looked after it
        "changes": changes,
        "state": {
            "before": looks[0]["before"],
            "rows_before": looks[0]["rows_before"],
            "after": states[-1]["after"] if states else None,
            "rows_after": states[-1]["rows_after"] if states else [],
        }
        if looks
        else None,
        "power": power,
        "main": _main(contenders, store.lines[0].get("stored_threshold")),
        "contenders": contenders,
        "paths_mj": _paths(windows, idles, is_linear=is_linear),
        "break_even": _break_even(contenders, is_linear=is_linear),
        "warnings": [*_warnings(contenders), *_slow_sensor(power)],
    }


def _summarise_contender(
    store: Store, lines: Sequence[dict[str, Any]], idle: Mapping[int, Idle | None], scenario: str | None
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
    spent = [Spent(_power(line["power"]), line["images"], idle[line["session"]]) for line in lines]
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
        "energy": _energy(spent),
        "scenario": None if scenario is None else judge(scenario, list(total), images, duration_s),
    }


def pooled(store: Store, lines: Sequence[dict[str, Any]]) -> dict[str, npt.NDArray[Any]]:
    """The arrays of all windows of one contender, one behind the other."""
    all_arrays = [store.arrays(line) for line in lines]
    return {name: np.concatenate([arrays[name] for arrays in all_arrays]) for name in all_arrays[0]}


def _energy(spent: Sequence[Spent]) -> dict[str, Any]:
    """By rail: gross and above idle, mJ an image; or null, and why."""
    reason = next((one.power.reason for one in spent if one.power.reason is not None), None)
    if reason is not None:
        return {"mj_per_image": None, "reason": reason}
    by_rail = {}
    for rail in spent[0].power.mean_mw:
        if any(rail not in one.power.mean_mw for one in spent):
            continue
        gross, dynamic = gross_mj(spent, rail), dynamic_mj(spent, rail)
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


def _paths(
    windows: Mapping[str, Sequence[dict[str, Any]]], idles: Sequence[dict[str, Any]], *, is_linear: bool
) -> dict[str, Any] | None:
    """Energy by path, by regression over every window and the idle ones; None without power."""
    rows = []
    for line in [line for lines in windows.values() for line in lines] + list(idles):
        power = _power(line["power"])
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


def _break_even(contenders: Mapping[str, dict[str, Any]], *, is_linear: bool) -> dict[str, Any]:
    """For every threshold: latency and gross energy against the plain ViT's; null where they were not measured, and why."""
    if not {ALWAYS, NEVER, PLAIN} <= set(contenders):
        missing = "no plain ViT was measured: --plain plain.onnx, which sacvit-export --plain writes"
        return {
            "by_threshold": None,
            "reason": missing if PLAIN not in contenders else "the paths were not measured apart",
        }
    if not is_linear:
        return {"by_threshold": None, "reason": SHARED}
    found: dict[str, Any] = {}
    for name, contender in contenders.items():
        if contender["threshold"] is None:
            continue
        found[name] = {}
        for unit, cost in (("latency", _latency_ms), ("energy", _gross_mj)):
            costs = [value for path in (ALWAYS, NEVER, PLAIN) if (value := cost(contenders[path])) is not None]
            chain = cost(contender)
            told = None
            if len(costs) == 3 and chain is not None:
                told = break_even(costs[0], costs[1], costs[2], contender["exit_rate"], chain)
            found[name][unit] = None if told is None else told.to_dict()
    return {"by_threshold": found, "reason": None}


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


def _slow_sensor(power: Mapping[str, Any]) -> list[str]:
    """A sensor that was slower than it was taken for still held the load when idling was measured, and the other way round."""
    told = [sensor["filter_s"] for sensor in power.get("sensors", {}).values() if sensor["filter_s"] is not None]
    assumed = power["schedule"]["lead_s"] / LEADS
    rise = power["rise_s"][0] if power["rise_s"] else None
    if rise is None or rise <= MOST_RISE * max(*told, assumed, 0.0):
        return []
    return [
        f"power took {rise:.2g} s to rise and the sensor's filter was taken for {assumed:.2g} s: above idle is too low"
    ]


def _power(content: Mapping[str, Any]) -> PowerWindow:
    return PowerWindow(content["duration_s"], content["mean_mw"], content["bound_mw"], content["reason"])


def _rounded(table: Mapping[str, float] | Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: None if value is None or math.isnan(value) else round(value, 2) for name, value in table.items()}
