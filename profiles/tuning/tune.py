"""Chooses eta: both stages' answers, a temperature, the whole curve, points fitted on one split and reported on another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import to_builtins
from msgspec.structs import replace

from ...bundle.errors import GuardError, ImageError
from ...bundle.gating import confidence_of
from ...bundle.manifest import Tuned
from ...images.class_names import read_class_names
from ...images.labelled import Labelled, open_labelled
from ...runtime.chain.pipeline import Pipeline
from ...runtime.engines.options import EngineOptions
from ...runtime.percentiles import summarise
from ..results.result_files import TUNE_FORMAT
from ..timing.plain import Plain
from .alphas.compare import compare_alphas
from .alphas.measure import collect_each, load_pipelines, measure_times, own_alpha
from .answer_files import Answers, Machine
from .curve import ALLOWED_LOSS, POINTS, Judged, Rule, draw_curve
from .mistakes import MOST_LISTED, Mistakes, find_mistakes, list_mistakes
from .objects.coverage import measure_objects
from .operating_points import describe_point, draw_points, ends_of, read_costs
from .plain_point import measure_plain, require_classes
from .request import TuneRequest
from .rules import rule_of, unreachable
from .split import FITTED, REPORTED, gap_lines, split
from .stored_answers import collect
from .temperature import calibration_error, fit_temperature

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Tuning:
    """The result of a run. result: for JSON; chosen: the gate to store, None without a rule; mistakes: for the page."""

    result: dict[str, Any]
    chosen: Tuned | None
    mistakes: Mistakes


def tune(
    pipeline: Pipeline,
    request: TuneRequest,
    folder: Path,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
    report: Callable[[str], None] = lambda line: None,
) -> Tuning:
    """Everything that sacvit-tune prints and stores. pipeline: the engines of the request, loaded; folder: keeps the answers.

    Without `report_data`, one half of `data`, by a hash of the names, is reported on. Raises GuardError with the best that can
    be reached when no eta keeps the rule; errors of `collect`, `open_labelled` and `split` besides.
    """
    # Errors in options, labels and files are reported here, before the first pass: there may be hours of them.
    data, batch, rule = request.data, request.batch, rule_of(request)
    classes, names = class_names(pipeline, request.labels)
    pipelines = (
        load_pipelines(pipeline, request.engine[1], request.alpha, EngineOptions(request.provider))
        if request.alpha
        else {}
    )
    costs = None if request.profile is None else read_costs(request.profile, [pipeline.ee, pipeline.sac])
    sets = [
        open_labelled(one, classes, names, option)
        for one, option in ((data, "--data"), (request.report_data, "--report-data"))
        if one is not None
    ]
    fitted, reported = split(sets)
    for line in gap_lines(sets, fitted, reported, classes, names):
        report(line)
    if sets[0].boxes is not None and sets[-1].boxes is None:
        report(
            f"{sets[-1].source} has no boxes, and objects are reported on --report-data: add the columns x, y, w and h to it"
        )
    plain_vit = (
        None if request.plain is None else require_classes(Plain(request.plain, batch, request.provider), classes)
    )
    places = (folder / name for name in ("answers", "answers-report"))
    answers = [collect(pipeline, images, place, batch, progress) for images, place in zip(sets, places, strict=False)]
    further = collect_each(pipelines, pipeline, sets, folder, batch, progress)
    unreadable = [line for pair in zip(sets, answers, strict=True) for line in _unreadable(*pair, report)]
    for found in (answers, *further.values()):
        fitted, reported = fitted & found[0].readable, reported & found[-1].readable
    for mask, half in ((fitted, FITTED), (reported, REPORTED)):
        if not mask.any():
            raise ImageError(f"{data}: of the images that are {half} not one can be read")
    temperature = fit_temperature(lambda: _pieces(answers[0], sets[0], fitted))
    judged = [judge(found, images, temperature) for found, images in zip(answers, sets, strict=True)]
    whole = judged[-1]  # the same as judged[0] where both splits come from one set
    fit, rest = judged[0].of(fitted), whole.of(reported)
    cold = judge(answers[-1], sets[-1], 1.0).of(reported)
    curve = draw_curve(fit)
    rules: dict[str, Rule] = {**POINTS, **({} if rule is None else {rule[0]: rule[1]})}
    points: dict[str, Any] = {}
    for name, one in rules.items():
        place = one(curve)
        if place is not None:
            points[name] = describe_point(curve, place, fit, rest, one, ALLOWED_LOSS.get(name), costs)
    if rule is not None and rule[0] not in points:
        raise GuardError(unreachable(rule[0], curve))
    chosen = None
    if rule is not None:
        chosen = Tuned(points[rule[0]]["eta"], temperature, rule[0])
    compared = None
    if pipelines:
        own, halves = own_alpha(pipeline), ((fit, 0, fitted), (rest, -1, reported))
        fits, rests = (
            {own: half, **{other: judge(found[at], sets[at], temperature).of(mask) for other, found in further.items()}}
            for half, at, mask in halves
        )
        compared = compare_alphas(own, fits, rests, measure_times(pipelines, batch), rules)
        if rule is not None:
            best = compared.choice_of(rule[0])
            chosen = Tuned(best.eta, temperature, rule[0], sacs=best.sacs, report=best.report, promise=best.promise)
    # If EE is wrong with a confidence of exactly 1, no eta sends all images on: then only `accurate` is sure to exist.
    shown = points[rule[0] if rule is not None else "balanced" if "balanced" in points else "accurate"]
    mistakes = find_mistakes(sets[-1], reported, whole, shown["eta"])
    result = {
        "format": TUNE_FORMAT,
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
            "images_report": rest.count,
        },
        "timing": _timing(answers),
        "unreadable": int(sum((~found.readable).sum() for found in answers)),
        "unreadable_images": unreadable[:MOST_LISTED],
        "temperature": temperature,
        "calibration_error": {
            "before": calibration_error(cold.confidence, cold.ee_right),
            "after": calibration_error(rest.confidence, rest.ee_right),
        },
        "always": {"EE": ends_of(rest, 0.0, costs), "SAC": ends_of(rest, None, costs)},
        "plain": None if plain_vit is None else measure_plain(plain_vit, sets[-1], reported, batch, progress),
        "points": points,
        "chosen": None
        if chosen is None
        else {"threshold": chosen.threshold, "temperature": chosen.temperature, "point": chosen.point},
        "curves": {"fit": draw_points(fit, curve, costs), "report": draw_points(rest, draw_curve(rest), costs)},
        **list_mistakes(mistakes, answers[-1], whole, names),
    }
    if compared is not None:
        result["alphas"] = compared.result
    if sets[-1].boxes is not None:
        chosen_images = np.flatnonzero(reported)
        result["objects"] = measure_objects(
            pipeline, sets[-1], chosen_images, rest, answers[-1].folder, batch, progress
        )
    return Tuning(result, chosen, mistakes)


def class_names(pipeline: Pipeline, labels: Path | None) -> tuple[int, list[str] | None]:
    """The model's number of classes, and their names: from the file, else from the engines, else None. Raises UsageError."""
    classes = int(pipeline.ee.outputs["logits"].shape[0])
    if labels is not None:
        return classes, read_class_names(labels, "--labels", classes)
    return classes, list(pipeline.labels) if pipeline.labels else None


def _unreadable(data: Labelled, answers: Answers, report: Callable[[str], None]) -> list[str]:
    """Names of the images that could not be read. The first one is reported with its reason."""
    missing = np.flatnonzero(~answers.readable)
    if len(missing):
        first = int(missing[0])
        try:
            data.read(first)
            reason = "it can be now: remove the answers to take it in"
        except ImageError as fault:
            reason = str(fault)
        report(
            f"{data.source}: {len(missing)} images cannot be read and are left out, {data.names[first]} first: {reason}"
        )
    return [data.names[int(index)] for index in missing]


def _timing(answers: list[Answers]) -> dict[str, Any]:
    """Wall time of the images' passes, the warm-up passes, and each machine at its highest load."""
    warmups = [entry for found in answers for entry in found.warmups]
    machines: dict[Machine, Machine] = {}
    for machine in sorted((entry.machine for entry in warmups), key=lambda machine: machine.load_1min or 0.0):
        machines[replace(machine, load_1min=None)] = machine
    return {
        "ee": summarise(np.concatenate([found.ee_ms[found.readable] for found in answers]).tolist()),
        "sac": summarise(np.concatenate([found.sac_ms[found.readable] for found in answers]).tolist()),
        "warmup_passes": sum(entry.passes for entry in warmups),
        "machines": [to_builtins(machine) for machine in machines.values()],
    }


def judge(answers: Answers, data: Labelled, temperature: float) -> Judged:
    """The results of each image, in the data's order. Rows that cannot be read count as wrong; the caller leaves them out."""
    count = answers.count
    found = {name: np.zeros(count, np.bool_) for name in ("ee_right", "sac_right", "ee_top5", "sac_top5")}
    confidence = np.zeros(count, np.float32)
    for rows, ee, sac in answers.logits():
        labels = data.labels[rows]
        confidence[rows] = confidence_of(np.nan_to_num(ee), temperature)
        for stage, logits in (("ee", ee), ("sac", sac)):
            own = logits[np.arange(len(labels)), labels]
            above = (logits > own[:, None]).sum(-1)
            # For equal logits the first class is the answer, as in the pipeline.
            found[f"{stage}_right"][rows] = (logits.argmax(-1) == labels) & ~np.isnan(own)
            found[f"{stage}_top5"][rows] = (above < 5) & ~np.isnan(own)
    return Judged(confidence, **found, ee_ms=answers.ee_ms, sac_ms=answers.sac_ms)


def _pieces(
    answers: Answers, data: Labelled, chosen: Bools
) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]]:
    for rows, ee, _ in answers.logits():
        if chosen[rows].any():
            yield ee[chosen[rows]], data.labels[rows][chosen[rows]]
