"""A verdict for every candidate: built where it must be, judged in a process of its own, or found not to run here."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...bundle.errors import DeviceError, EngineError, GuardError, PlanError
from ...bundle.precision import row_of
from ...runtime.engines.choice import Candidate
from ..plans.build import build
from ..plans.child import run_child
from .candidates import LIBRARIES, REFERENCE, Way
from .request import ChoiceRequest
from .table import Show
from .unfinished import Unfinished

TOO_SLOW = 4.0  # times the reference's pass: not worth its answers, far behind where the comparison gives up


@dataclass(frozen=True)
class Run:
    """One choice: the bundle, what was asked for, what was found so far, and when it began. request: with its batches."""

    folder: Path
    request: ChoiceRequest
    kept: Unfinished
    show: Show
    began: float
    skipped: dict[str, str] = field(default_factory=dict)  # for lack of time: a run that goes on tries them

    @property
    def absent(self) -> dict[str, str]:
        """What does not run here, or was not tried, with the reasons."""
        return self.kept.found.absent | self.skipped

    @property
    def is_over(self) -> bool:
        """Whether --budget-s is used up."""
        budget_s = self.request.budget_s
        return budget_s is not None and time.monotonic() - self.began > budget_s

    @property
    def passed(self) -> list[Candidate]:
        return [candidate for candidate in self.kept.found.candidates if candidate.refused is None]

    def home_of(self, candidate: Candidate) -> Path:
        """The folder that a candidate's files lie in until the choice is written."""
        return self.folder if candidate.provider is not None else self.kept.place_of(candidate.name)


def judge_runner(run: Run, of_runner: list[Way]) -> None:
    """Every precision of a runner, while it runs at all."""
    runner, found = of_runner[0].name.partition(" ")[0], run.kept.found
    for way in of_runner:
        if runner in found.absent:
            return
        if run.kept.knows(way.name) or _is_spare(run, way):
            continue
        if run.is_over and way != REFERENCE:
            run.skipped[way.name] = f"not tried: --budget-s {run.request.budget_s:g} was over"
            continue
        run.show(found.candidates, f"{way.name}: checking")
        try:
            found.candidates.append(_judged(run, way))
        except (EngineError, DeviceError, ModuleNotFoundError) as fault:
            reason = f"{fault.name} is not installed" if isinstance(fault, ModuleNotFoundError) else str(fault)
            what = runner if _says_of_all(way, fault) else way.name
            found.absent[what] = reason
            if run.request.only is not None:  # else there are a dozen of them, and engines.json has them all
                run.request.report(f"{what} does not run here: {reason}")
        run.kept.keep()
        run.show(found.candidates, "")


def _is_spare(run: Run, way: Way) -> bool:
    """FP32 of a backend that builds takes minutes, and is its slowest: it is for where nothing coarser passes."""
    return (
        way.backend in LIBRARIES
        and way.precision == "fp32"
        and any(candidate.backend == way.backend for candidate in run.passed)
    )


def _says_of_all(way: Way, fault: Exception) -> bool:
    """Whether what stopped one candidate of a runner stops the others too: FP32 runs wherever the runner does."""
    if way.backend in LIBRARIES:
        return isinstance(fault, DeviceError | ModuleNotFoundError)
    return way.precision == "fp32" or isinstance(fault, ModuleNotFoundError)


def _judged(run: Run, way: Way) -> Candidate:
    """The candidate with its verdict. Raises EngineError, DeviceError or ModuleNotFoundError for what does not run here."""
    report = run.request.report
    plain: dict[str, Any] = {
        "name": way.name,
        "backend": way.backend,
        "provider": way.provider,
        "precision": way.precision,
    }
    try:
        home = _built(run, way)
        found = run_child(
            {
                "job": "check",
                "folder": str(run.folder),
                "ee": str(home / way.files[0]),
                "sac": str(home / way.files[1]),
                "provider": way.provider,
                "batches": run.request.sizes,
                "slowest_ms": _slowest_ms(run),
            },
            run.kept.folder,
            report,
            "sacvit.export.choice.worker",
        )
    except (PlanError, GuardError) as reason:
        report(f"{way.name}: refused: {reason}")
        return Candidate(**plain, files=(), refused=str(reason))
    candidate = Candidate(**plain, files=way.files, **found["candidate"])
    if way == REFERENCE:
        run.kept.found.pair_ms = found["pair_ms"]
    verdict = "passes every guard" if candidate.refused is None else f"refused: {candidate.refused}"
    report(f"{way.name}: {verdict}; mean logit error {candidate.logit_error:.2g}")
    return candidate


def _slowest_ms(run: Run) -> float | None:
    """None for the reference, and for a backend that the user names: its engine is wanted however slow it is."""
    pair_ms = run.kept.found.pair_ms
    return None if pair_ms is None or run.request.only is not None else TOO_SLOW * pair_ms


def _built(run: Run, way: Way) -> Path:
    """The folder of a way's files, built where they must be."""
    if way.provider is not None:
        return run.folder
    home = run.kept.place_of(way.name)
    family = row_of(way.precision).family
    build(run.folder, home, replace(run.request, family=family, library=LIBRARIES[way.backend], is_alone=True))
    return home
