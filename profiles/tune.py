"""Choosing eta: both stages' answers, a temperature, the whole curve, points fitted on one split and reported on another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..bundle.errors import GuardError, SacvitError, UsageError
from ..bundle.tuned import Tuned
from ..runtime.pipeline import Pipeline
from ..runtime.statistics import percentile
from .answers import Answers, collect
from .compare import read_result
from .contenders import ALWAYS, NEVER
from .curve import (
    POINTS,
    AtEta,
    Curve,
    Judged,
    Rule,
    cheapest_with,
    draw_curve,
    fastest_within,
    judge_at,
    with_exit_rate,
)
from .energy import TOTAL
from .honesty import intervals, self_deception
from .labelled import Labelled, open_labelled
from .plain import Plain
from .temperature import calibration_error, confidences, fit_temperature

DRAWN = 200  # points of a stored curve
MOST_LISTED = 1000  # images that exited wrong, or that SAC broke

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Costs:
    """mJ of an image that exits and of one that goes the whole way, from a profile of these engines."""

    exit_mj: float
    full_mj: float

    def at(self, exit_rate: float) -> float:
        return exit_rate * self.exit_mj + (1 - exit_rate) * self.full_mj


@dataclass(frozen=True)
class Tuning:
    """What a run found. result: as JSON; chosen: the gate to store, None when no rule was asked for."""

    result: dict[str, Any]
    chosen: Tuned | None


def tune(
    pipeline: Pipeline,
    data: Path,
    folder: Path,
    *,
    report_data: Path | None = None,
    labels: list[str] | None = None,
    batch: int = 1,
    profile: Path | None = None,
    plain: Path | None = None,
    rule: tuple[str, Rule] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    tell: Callable[[str], None] = lambda line: None,
) -> Tuning:
    """Everything that sacvit-tune prints and stores. rule: the operating point to store, by name.

    report_data: images to report on; without it the half of `data` whose names hash that way. Raises GuardError when no eta
    keeps the rule, with the best that can be had; errors of `collect` and `open_labelled` besides.
    """
    classes = int(pipeline.ee.outputs["logits"].shape[0])
    names = labels if labels is not None else list(pipeline.labels) if pipeline.labels else None
    if names is not None and len(names) != classes:
        raise UsageError(f"--labels names {len(names)} classes, the model has {classes}")
    costs = None if profile is None else read_costs(profile)  # before the work: a wrong file is told at once
    sets = [open_labelled(data, classes, names)]
    folders = [folder / "answers"]
    if report_data is not None:
        sets.append(open_labelled(report_data, classes, names))
        folders.append(folder / "answers-report")
    answers = [collect(pipeline, images, place, batch, progress) for images, place in zip(sets, folders, strict=True)]
    for images, found in zip(sets, answers, strict=True):
        if missing := int((~found.readable).sum()):
            first = images.names[int(np.argmin(found.readable))]
            tell(f"{images.source}: {missing} images cannot be read and are left out, {first} first")
    fitted = fit_half(sets[0]) & answers[0].readable if report_data is None else answers[0].readable
    reported = ~fit_half(sets[0]) & answers[0].readable if report_data is None else answers[-1].readable
    if not fitted.any() or not reported.any():
        raise UsageError(f"{data}: one of the halves is empty; give more images, or --report-data")
    temperature = fit_temperature(lambda: _pieces(answers[0], sets[0], fitted))
    judged = [judge(found, images, temperature) for found, images in zip(answers, sets, strict=True)]
    whole = judged[-1]  # the same as judged[0] where the halves of one set are fitted and reported on
    fit, report = judged[0].of(fitted), whole.of(reported)
    cold = judge(answers[-1], sets[-1], 1.0).of(reported)
    curve = draw_curve(fit)
    rules: dict[str, Rule] = {**POINTS, **({} if rule is None else {rule[0]: rule[1]})}
    points: dict[str, Any] = {}
    for name, one in rules.items():
        place = one(curve)
        if place is not None:
            points[name] = describe_point(curve, place, fit, report, one, costs)
    if rule is not None and rule[0] not in points:
        raise GuardError(unreachable(rule[0], curve))
    chosen = None
    if rule is not None:
        chosen = Tuned(points[rule[0]]["eta"], temperature, rule[0])
    # Where EE is sure to the last bit and wrong, no eta sends all on: then only `accurate` is always there.
    shown = points[rule[0] if rule is not None else "balanced" if "balanced" in points else "accurate"]
    result = {
        "format": 1,
        "engines": {
            stage.record.stage: {"file": stage.path.name, "precision": stage.record.precision}
            for stage in (pipeline.ee, pipeline.sac)
        },
        "backend": pipeline.ee.backend,
        "batch": batch,
        "data": {
            "fit": sets[0].source,
            "report": sets[-1].source,
            "images_fit": fit.count,
            "images_report": report.count,
        },
        "unreadable": int(sum((~found.readable).sum() for found in answers)),
        "temperature": temperature,
        "calibration_error": {
            "before": calibration_error(cold.confidence, cold.ee_right),
            "after": calibration_error(report.confidence, report.ee_right),
        },
        "always": {"EE": _ends(report, 0.0, costs), "SAC": _ends(report, None, costs)},
        "plain": None if plain is None else measure_plain(plain, sets[-1], reported, batch),
        "points": points,
        "chosen": None if chosen is None else asdict(chosen),
        "curves": {"fit": draw_points(fit, curve, costs), "report": draw_points(report, draw_curve(report), costs)},
        "exited_wrong": _listed(sets[-1], reported, whole, shown["eta"], "exited wrong"),
        "broken_by_sac": _listed(sets[-1], reported, whole, shown["eta"], "broken by SAC"),
    }
    return Tuning(result, chosen)


def fit_half(data: Labelled) -> Bools:
    """Which images eta is fitted on: half of them by a hash of their names, the same half when others come or go."""
    return np.array([hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[0] < 128 for name in data.names])


def judge(answers: Answers, data: Labelled, temperature: float) -> Judged:
    """What each image got, in the data's order; rows that cannot be read are all wrong, for the caller to leave out."""
    count = answers.count
    found = {name: np.zeros(count, np.bool_) for name in ("ee_right", "sac_right", "ee_top5", "sac_top5")}
    confidence = np.zeros(count, np.float32)
    for rows, ee, sac in answers.logits():
        labels = data.labels[rows]
        confidence[rows] = confidences(np.nan_to_num(ee), temperature)
        for stage, logits in (("ee", ee), ("sac", sac)):
            own = logits[np.arange(len(labels)), labels]
            above = (logits > own[:, None]).sum(-1)
            # Of equal logits the first class is the answer, as in the pipeline.
            found[f"{stage}_right"][rows] = (logits.argmax(-1) == labels) & ~np.isnan(own)
            found[f"{stage}_top5"][rows] = (above < 5) & ~np.isnan(own)
    return Judged(confidence, **found, ee_ms=answers.ee_ms, sac_ms=answers.sac_ms)


def _pieces(
    answers: Answers, data: Labelled, chosen: Bools
) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]]:
    for rows, ee, _ in answers.logits():
        if chosen[rows].any():
            yield ee[chosen[rows]], data.labels[rows][chosen[rows]]


def describe_point(
    curve: Curve, place: int, fit: Judged, report: Judged, rule: Rule, costs: Costs | None
) -> dict[str, Any]:
    """An operating point: eta, what it does on both splits, intervals, and what tuning on the report would have added."""
    eta = curve.eta(place)
    exits = report.confidence >= np.float32(eta)
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
        "fit": _rounded(judge_at(fit, eta), costs),
        "report": _rounded(at_report, costs),
        "intervals": {name: [round(end, 6) for end in ends] for name, ends in intervals(columns).items()},
        "top1_lost": round(float(report.sac_right.mean()) - at_report.top1, 6),
        "time_saved": round(1 - at_report.mean_ms / float(always), 6),
        "self_deception": round(self_deception(_joined(fit, report), rule), 6),
    }


def _joined(one: Judged, other: Judged) -> Judged:
    return Judged(*(np.concatenate([getattr(one, name), getattr(other, name)]) for name in one.__dataclass_fields__))


def _rounded(at: AtEta, costs: Costs | None) -> dict[str, Any]:
    table = {name: value if isinstance(value, dict) else round(float(value), 6) for name, value in asdict(at).items()}
    table["gate"] = {name: round(share, 6) for name, share in at.gate.items()}
    return table | {"mj": None if costs is None else round(costs.at(at.exit_rate), 6)}


def _ends(report: Judged, eta: float | None, costs: Costs | None) -> dict[str, Any]:
    """Everybody exits, or nobody: eta None."""
    nobody = Judged(
        np.full(report.count, -1, np.float32),
        *(getattr(report, name) for name in list(report.__dataclass_fields__)[1:]),
    )
    return _rounded(judge_at(report if eta is not None else nobody, eta or 0.0), costs)


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


def _listed(data: Labelled, chosen: Bools, judged: Judged, eta: float, kind: str) -> dict[str, Any]:
    """Names of the images of one kind, surest first, at most MOST_LISTED."""
    exits = judged.confidence >= np.float32(eta)
    wrong = exits & ~judged.ee_right if kind == "exited wrong" else ~exits & judged.ee_right & ~judged.sac_right
    found = np.flatnonzero(wrong & chosen)
    found = found[np.argsort(-judged.confidence[found], kind="stable")]
    shown = [
        {"image": data.names[int(index)], "confidence": round(float(judged.confidence[index]), 4)} for index in found
    ]
    return {"eta": eta, "count": len(found), "images": shown[:MOST_LISTED]}


def read_costs(path: Path) -> Costs:
    """From a profile of the same engines. Raises SacvitError when it measured no energy."""
    contenders = read_result(path)["modes"][-1]["contenders"]
    try:
        exit_mj, full_mj = (
            float(contenders[name]["energy"]["mj_per_image"][TOTAL]["gross"]["value"]) for name in (ALWAYS, NEVER)
        )
    except (KeyError, TypeError, ValueError):
        raise SacvitError(
            f"--profile {path} holds no energy of an image by path: profile where power can be read"
        ) from None
    return Costs(exit_mj, full_mj)


def measure_plain(path: Path, data: Labelled, chosen: Bools, batch: int) -> dict[str, float]:
    """Top-1 and mean ms of the plain ViT on the report's images."""
    import time

    plain = Plain(path, batch)
    preprocessing = plain.stage.record.preprocessing
    indices = np.flatnonzero(chosen)
    right, spent, done = 0, 0.0, 0
    for start in range(0, len(indices) - len(indices) % batch or 0, batch):
        piece = indices[start : start + batch]
        for slot, index in zip(plain.images, piece, strict=False):
            preprocessing.apply(data.read(int(index)), slot)
        began = time.perf_counter()
        classes = plain.run(batch)
        spent += time.perf_counter() - began
        right += sum(label == data.labels[index] for label, index in zip(classes, piece, strict=True))
        done += batch
    if not done:
        raise UsageError(f"--plain: {len(indices)} images are fewer than a batch of {batch}")
    return {"top1": round(right / done, 6), "mean_ms": round(1e3 * spent / (done / batch), 6)}


def rule_of(
    point: str | None, min_top1: float | None, max_ms: float | None, exit_rate: float | None
) -> tuple[str, Rule] | None:
    """The rule that options ask for, with its name. min_top1: percent. Raises UsageError for numbers that cannot be."""
    if point is not None:
        return point, POINTS[point]
    if min_top1 is not None:
        if not 0 <= min_top1 <= 100:
            raise UsageError(f"--min-top1 {min_top1:g}: give percent, 0 to 100")
        return f"top-1 of {min_top1:g} %", cheapest_with(min_top1 / 100)
    if max_ms is not None:
        if not 0 < max_ms < float("inf"):
            raise UsageError(f"--max-ms {max_ms:g}: give a time above 0")
        return f"mean of {max_ms:g} ms", fastest_within(max_ms)
    if exit_rate is not None:
        if not 0 <= exit_rate <= 1:
            raise UsageError(f"--exit-rate {exit_rate:g}: give a share, 0 to 1")
        return f"exit rate of {exit_rate:g}", with_exit_rate(exit_rate)
    return None


def unreachable(name: str, curve: Curve) -> str:
    """What no eta reaches, and the best that can be had."""
    best = int(np.argmax(curve.top1))
    return (
        f"no eta gives a {name} on the images that it is fitted on. The best that can be had: top-1"
        f" {100 * curve.top1[best]:.2f} % at eta {curve.eta(best):g} ({curve.mean_ms[best]:.3g} ms), or"
        f" {curve.mean_ms.min():.3g} ms at top-1 {100 * curve.top1[int(curve.mean_ms.argmin())]:.2f} %"
    )


def write_result(result: Mapping[str, Any], path: Path) -> None:
    from ..bundle.files import written_whole

    with written_whole(path) as partial:
        partial.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
