"""The costs of one variant: latency by stage and path, energy by rail, and the spread of its rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...runtime.percentiles import PERCENTILES, percentile
from ..power.energy import TOTAL, Idle, PowerWindow, Spent, dynamic_mj, gross_mj, spread
from ..timing.contenders import PLAIN, STAGES
from ..timing.scenarios import judge
from ..timing.store import Store
from .pay_off import Cost, Costs


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


def summarise_contender(
    store: Store, lines: Sequence[dict[str, Any]], idle: Mapping[int, Idle | None]
) -> dict[str, Any]:
    """The result of all windows of one variant. idle: by session."""
    arrays = pooled(store, lines)
    total, survivors = arrays["total"], arrays["survivors"]
    images, duration_s = sum(line["images"] for line in lines), sum(line["duration_s"] for line in lines)
    counts: dict[str, int] = {}
    for line in lines:
        for path, count in line["counts"].items():
            counts[path] = counts.get(path, 0) + count
    is_plain = lines[0]["contender"] == PLAIN
    stages = {stage: distribution(arrays[stage]) for stage in STAGES if not is_plain or stage not in ("gate", "SAC")}
    paths = {"all": distribution(total)}
    if not is_plain:
        stages["SAC"] = distribution(arrays["SAC"][survivors > 0])
        paths |= {"exit": distribution(total[survivors == 0]), "full": distribution(total[survivors > 0])}
    spent = [Spent(power_window(line), line["images"], idle[line["session"]]) for line in lines]
    rounds = [cost.value for cost in costs_of(lines)["latency"].rounds.values()]
    half = spread(rounds)
    scenario = store.lines[0].get("scenario")
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
        "ms_per_image_plus_minus": None if half is None else float(f"{half:.3g}"),  # 95 %, by the rounds
        "ms_per_image_by_round": [float(f"{value:.6g}") for value in rounds],
        "stages_ms": stages,
        "paths_ms": paths,
        "energy": _energy(spent),
        "load": _load(lines),
        "scenario": None if scenario is None else judge(scenario, list(total), images, duration_s),
    }


def costs_of(lines: Sequence[Mapping[str, Any]]) -> dict[str, Costs]:
    """By unit: ms per image, and mJ with idle power where it was measured in every window."""
    images = sum(line["images"] for line in lines)
    times = {line["round"]: Cost(1e3 * line["duration_s"] / line["images"], 0.0) for line in lines}
    found = {"latency": Costs(1e3 * sum(line["duration_s"] for line in lines) / images, times)}
    energies, total_mj = {}, 0.0
    for line in lines:
        power = power_window(line)
        if power.reason is not None or TOTAL not in power.mean_mw:
            return found
        scale, bound = power.duration_s / line["images"], power.bound_mw[TOTAL]
        energies[line["round"]] = Cost(power.mean_mw[TOTAL] * scale, None if bound is None else bound * scale)
        total_mj += power.mean_mw[TOTAL] * power.duration_s
    return found | {"energy": Costs(total_mj / images, energies)}


def power_window(line: Mapping[str, Any]) -> PowerWindow:
    """The power of a stored window."""
    content = line["power"]
    return PowerWindow(content["duration_s"], content["mean_mw"], content["bound_mw"], content["reason"])


def pooled(store: Store, lines: Sequence[dict[str, Any]]) -> dict[str, npt.NDArray[Any]]:
    """The concatenated arrays of all windows of one variant."""
    all_arrays = [store.arrays(line) for line in lines]
    return {name: np.concatenate([arrays[name] for arrays in all_arrays]) for name in all_arrays[0]}


def _energy(spent: Sequence[Spent]) -> dict[str, Any]:
    """By rail: mJ per image, gross and above idle; or null and the reason."""
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


def _load(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The worst load during the windows; None on a system without counters."""
    loads = [line["load"] for line in lines if line.get("load") is not None]
    if not loads:
        return None
    worst: dict[str, Any] = {
        name: max((load[name] for load in loads if load[name] is not None), default=None)
        for name in ("others", "stolen", "waited", "running_mean", "running_max", "forced_switches_per_s", "load_1min")
    }
    worst["switches_per_s"] = max(load["switches_per_s"] for load in loads)
    worst["shortest_window_s"] = min(load["duration_s"] for load in loads)
    worst["repeated_windows"] = sum(line.get("attempts", 1) > 1 for line in lines)
    worst["disturbed_windows"] = sum(bool(line.get("disturbances")) for line in lines)
    return worst
