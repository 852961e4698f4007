"""The times of the candidates: all are loaded, each in a process of its own, and run passes turn by turn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import msgspec

from ...bundle.errors import PlanError
from ...runtime.engines.choice import Candidate
from .ranking import Round, hopeless, survivors_of, timed
from .turns import Turns
from .verdicts import Run

ROUNDS = 9
FEWEST_ROUNDS = 3  # before --budget-s ends the comparison, and before a candidate is given up


def compare_times(run: Run, reference: str, exit_rate: float) -> list[Candidate]:
    """The candidates that passed, with their times; one whose process ends meanwhile is refused.

    Rounds that an interrupted run measured are not measured again. Raises PlanError when it is the reference that ends.
    """
    passed, sizes = run.passed, run.request.sizes
    rounds: dict[int, list[Round]] = {size: list(run.kept.found.rounds.get(str(size), [])) for size in sizes}
    with ExitStack() as ends:
        running: dict[str, Turns] = {}
        for candidate in passed:
            run.show(timed(passed, reference, exit_rate, rounds), f"{candidate.name}: starting")
            ee, sac = (str(run.home_of(candidate) / name) for name in candidate.files)
            spec = {"folder": str(run.folder), "ee": ee, "sac": sac, "provider": candidate.provider}
            with _refused_when_it_ends(run, candidate.name, reference):
                running[candidate.name] = ends.enter_context(Turns(candidate.name, spec))
        peaks: dict[str, float] = {}
        for number in range(min(map(len, rounds.values())), ROUNDS):
            if number >= FEWEST_ROUNDS and run.is_over:
                break
            so_far = timed(passed, reference, exit_rate, rounds)
            alive = {candidate.name for candidate in run.passed}
            dropped = hopeless(so_far, reference) if number >= FEWEST_ROUNDS else set()
            names = [name for name in running if name in alive - dropped]
            first = number % len(names)
            run.show(so_far, f"round {number + 1} of {ROUNDS}")
            for size in sizes:
                taken: Round = {}
                for name in names[first:] + names[:first]:
                    with _refused_when_it_ends(run, name, reference):
                        turn = running[name].turn(size, survivors_of(size, exit_rate))
                        taken[name] = turn["ee_ms"], turn["sac_ms"]
                        peaks[name] = turn["peak_mib"]
                rounds[size].append(taken)
            run.kept.found.rounds = {str(size): of_size for size, of_size in rounds.items()}
            run.kept.keep()
        return [
            msgspec.structs.replace(
                candidate,
                start_s=round(running[candidate.name].start_s, 2),
                peak_mib=round(peaks[candidate.name], 1) if candidate.name in peaks else None,
            )
            for candidate in timed(run.passed, reference, exit_rate, rounds)
        ]


@contextmanager
def _refused_when_it_ends(run: Run, name: str, reference: str) -> Iterator[None]:
    """A candidate's process may end in its hundredth pass: then it is refused, and the others go on."""
    try:
        yield
    except PlanError as reason:
        if name == reference:
            raise
        run.request.report(f"{name}: refused: {reason}")
        found = run.kept.found
        found.candidates = [
            msgspec.structs.replace(one, refused=str(reason)) if one.name == name else one for one in found.candidates
        ]
