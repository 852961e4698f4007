"""Operating points and curves as plain numbers for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...bundle.errors import EngineError, SacvitError
from ...bundle.files import sha256_of
from ...bundle.gating import may_exit
from ...runtime.engines.stage import Stage
from ...runtime.percentiles import percentile
from ..power.energy import TOTAL
from ..results.result_files import PROFILE_COMMAND, read_profile
from ..timing.contenders import ALWAYS, NEVER
from .curve import AtEta, Curve, Judged, Rule, judge_at, promise_of
from .resampling import intervals, self_deception

DRAWN = 200  # points of a stored curve


@dataclass(frozen=True)
class Costs:
    """mJ of an image that exits and of one on the full path, from a profile of these engines."""

    exit_mj: float
    full_mj: float

    def at(self, exit_rate: float) -> float:
        return exit_rate * self.exit_mj + (1 - exit_rate) * self.full_mj


def read_costs(path: Path, engines: Sequence[Stage]) -> Costs:
    """Reads the costs from a profile of these engines.

    Raises EngineError for a profile of other engines, SacvitError when it measured no energy.
    """
    profile = read_profile(path)
    for engine in engines:
        stage = engine.record.stage
        measured = profile["engines"].get(stage)
        if measured is None or measured["sha256"] != sha256_of(engine.path):
            named = "none" if measured is None else f"{measured['file']} ({measured['precision']})"
            raise EngineError(
                f"--profile {path} is of other engines: its {stage} is {named}, and its file is another one than that of"
                f" --engine. Profile these engines: {PROFILE_COMMAND}"
            )
    contenders = profile["modes"][-1]["contenders"]
    found = [
        (contenders[name]["energy"]["mj_per_image"] or {}).get(TOTAL) for name in (ALWAYS, NEVER) if name in contenders
    ]
    values = [one["gross"]["value"] for one in found if one is not None and one["gross"] is not None]
    if len(values) < 2:
        raise SacvitError(f"--profile {path} holds no energy of an image by path: profile where power can be read")
    return Costs(*values)


def describe_point(
    curve: Curve, place: int, fit: Judged, report: Judged, rule: Rule, allowed: float | None, costs: Costs | None
) -> dict[str, Any]:
    """An operating point: eta, its results on both splits, intervals, and the gain that tuning on the report split would show.

    allowed: the loss of top-1 that the rule allows, None for a rule of another kind.
    """
    eta = curve.eta(place)
    exits = may_exit(report.confidence, eta)
    always = report.ee_ms.mean(dtype=np.float64) + report.sac_ms.mean(dtype=np.float64)
    times = report.ee_ms + np.where(exits, 0, report.sac_ms)
    columns = {
        "top1": np.where(exits, report.ee_right, report.sac_right),
        "exit_rate": exits,
        "mean_ms": times,
        "top1_lost": report.sac_right.astype(np.float32) - np.where(exits, report.ee_right, report.sac_right),
    }
    at_report = judge_at(report, eta)
    return {
        "eta": eta,
        "fit": rounded(judge_at(fit, eta), costs),
        "report": rounded(at_report, costs),
        "intervals": {name: [round(end, 6) for end in ends] for name, ends in intervals(columns).items()},
        "promise": None if allowed is None else asdict(promise_of(curve, place, allowed)),
        "top1_lost": round(float(report.sac_right.mean()) - at_report.top1, 6),
        "time_saved": round(1 - at_report.mean_ms / float(always), 6),
        "self_deception": round(self_deception(_joined(fit, report), rule), 6),
    }


def _joined(one: Judged, other: Judged) -> Judged:
    return Judged(*(np.concatenate([getattr(one, name), getattr(other, name)]) for name in one.__dataclass_fields__))


def rounded(at: AtEta, costs: Costs | None) -> dict[str, Any]:
    table = {name: value if isinstance(value, dict) else round(float(value), 6) for name, value in asdict(at).items()}
    table["gate"] = {name: round(share, 6) for name, share in at.gate.items()}
    return table | {"mj": None if costs is None else round(costs.at(at.exit_rate), 6)}


def ends_of(report: Judged, eta: float | None, costs: Costs | None) -> dict[str, Any]:
    """One end of the curve, where all images exit or none: its eta is None."""
    nobody = Judged(
        np.full(report.count, -1, np.float32),
        *(getattr(report, name) for name in list(report.__dataclass_fields__)[1:]),
    )
    return rounded(judge_at(report if eta is not None else nobody, eta or 0.0), costs)


def draw_points(judged: Judged, curve: Curve, costs: Costs | None) -> list[dict[str, float | None]]:
    """At most DRAWN points of a curve, evenly over the exits, with their 99th percentile."""
    chosen = np.unique(np.linspace(0, len(curve.exits) - 1, DRAWN).round().astype(int))
    order = np.argsort(-judged.confidence, kind="stable")
    ee, both = judged.ee_ms[order], (judged.ee_ms + judged.sac_ms)[order]
    points = []
    for place in chosen:
        count = int(curve.exits[place])
        times = np.concatenate([ee[:count], both[count:]])
        rate = count / judged.count
        points.append(
            {
                "eta": curve.eta(int(place)),
                "exit_rate": round(rate, 6),
                "top1": round(float(curve.top1[place]), 6),
                "top5": round(float(curve.top5[place]), 6),
                "mean_ms": round(float(curve.mean_ms[place]), 6),
                "p99_ms": round(float(percentile(times.tolist(), 99)), 6),
                "mj": None if costs is None else round(costs.at(rate), 6),
            }
        )
    return points
