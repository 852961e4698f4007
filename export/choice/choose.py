"""sacvit-build: every way to run a bundle here is tried, judged and timed; the fastest that passes the guards is chosen."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path

import msgspec

from ...bundle.errors import EngineError, GuardError
from ...bundle.folders import locked_folder, replaced_files
from ...bundle.goldens import read_goldens
from ...bundle.manifest import MANIFEST_NAME, Manifest, read_manifest
from ...bundle.plan_record import PLAN_NAMES, RTX_NAMES
from ...machine.jetson import power_mode
from ...machine.packages import versions
from ...machine.processor import load_1min, usable_cores
from ...runtime.engines.choice import Candidate, EngineChoice, place_here, write_choice
from ...runtime.engines.given_paths import no_bundle
from ...runtime.engines.options import BackendName
from ..plans.build import choose_batches, choose_precision
from .candidates import REFERENCE, ways
from .comparison import compare_times
from .judge import exit_rate_of
from .ranking import choose
from .request import ChoiceRequest
from .table import Show
from .unfinished import Unfinished
from .verdicts import Run, judge_runner

BUSY = 0.5  # of the cores, by the load of the last minute
BUILT_NAMES: dict[BackendName, tuple[str, ...]] = {"tensorrt": PLAN_NAMES, "tensorrt-rtx": RTX_NAMES}
NO_PART = ("report", "budget_s", "timing_cache")  # of what was asked for: an interrupted run may go on with others


def choose_engine(folder: Path, request: ChoiceRequest, show: Show = lambda candidates, doing: None) -> EngineChoice:
    """Tries the candidates, writes engines.json, and returns its content.

    show: gets the candidates after every step. Raises GuardError when every candidate is refused, or none runs of the backend
    that was asked for: where FP32 in ONNX Runtime passes, it has been chosen and written all the same.
    """
    if not (folder / MANIFEST_NAME).is_file():
        raise EngineError(no_bundle(folder))
    request.require_sound()
    manifest, goldens = read_manifest(folder), read_goldens(folder)
    if request.family is not None:
        choose_precision(request.family, manifest.precisions())
    request = replace(request, batches=choose_batches(request.batches, manifest.batch))
    exit_rate = exit_rate_of(goldens, manifest.threshold.value)
    load = load_1min()  # of other programs: that of the checks comes on top
    if load is not None and load > BUSY * (usable_cores() or 1):
        request.report(f"warning: the machine is busy (load {load:g}), so times may be of other programs")
    with locked_folder(folder, "the bundle"):
        run = Run(folder, request, _open_unfinished(folder, manifest, request), show, time.monotonic())
        for of_runner in ways(manifest.precisions(), request.family, request.only):
            judge_runner(run, of_runner)
        if not run.passed:
            raise GuardError(f"no engine can be chosen for {folder}. {_reasons(run)}")
        reference = next((one.name for one in run.passed if one.name == REFERENCE.name), run.passed[0].name)
        ranked = sorted(compare_times(run, reference, exit_rate), key=lambda one: -(one.speedup or 0.0))
        chosen, reason = choose(ranked)
        others = [candidate for candidate in run.kept.found.candidates if candidate.refused is not None]
        choice = EngineChoice(
            place=place_here(),
            goldens_sha256=manifest.goldens_sha256,
            graphs={str(stage): digest for stage, digest in manifest.graphs.items()},
            exit_rate=exit_rate,
            images=len(goldens.images),
            batches=request.sizes,
            candidates=_keep_best(run, ranked) + others,
            reference=reference,
            choice=chosen.name,
            reason=reason,
            absent=run.absent,
            conditions={
                "versions": versions(),
                "load_1min": load,
                "power_mode": power_mode(),
                "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "seconds": round(time.monotonic() - run.began, 1),
            },
        )
        write_choice(folder, choice)
        run.kept.remove()
    if [one.name for one in ranked] == [REFERENCE.name]:
        if others:
            raise GuardError(
                f"every candidate is refused, so FP32 in ONNX Runtime stays, and is chosen. {_reasons(run)}"
            )
        if request.only not in (None, REFERENCE.backend):
            raise GuardError(
                f"{request.only} runs nothing here, so FP32 in ONNX Runtime stays, and is chosen. {_reasons(run)}"
            )
    return choice


def _open_unfinished(folder: Path, manifest: Manifest, request: ChoiceRequest) -> Unfinished:
    """What an interrupted run has found of the same files, by the same packages, on this machine, asked for alike."""
    kept = Unfinished(
        folder,
        {
            "place": place_here(),
            "goldens": manifest.goldens_sha256,
            "files": {name: file.sha256 for name, file in manifest.files.items()},
            "versions": versions(),
            "asked": {name: value for name, value in vars(request).items() if name not in NO_PART},
        },
    )
    if count := len(kept.found.candidates):
        request.report(f"goes on with what an interrupted run found: verdicts on {count} candidates")
    return kept


def _reasons(run: Run) -> str:
    refused = {one.name: one.refused for one in run.kept.found.candidates if one.refused}
    return " ".join(f"{name}: {reason}." for name, reason in (refused or run.absent).items())


def _keep_best(run: Run, ranked: list[Candidate]) -> list[Candidate]:
    """Puts engines that were built beside the bundle: of each backend the fastest pair, since all have the same names."""
    best: dict[BackendName, str] = {}
    for candidate in ranked:
        if candidate.backend in BUILT_NAMES and candidate.backend not in best:
            best[candidate.backend] = candidate.name
            names = BUILT_NAMES[candidate.backend]
            with replaced_files(run.folder, names) as work:
                for path in run.home_of(candidate).iterdir():
                    if path.name in names:
                        shutil.move(path, work / path.name)
    return [
        candidate
        if candidate.provider is not None or candidate.name in best.values()
        else msgspec.structs.replace(candidate, files=())
        for candidate in ranked
    ]
