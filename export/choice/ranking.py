"""From the times of the rounds to the choice. Nothing here runs an engine."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec

from ...runtime.engines.choice import Candidate, Timing

# Of the chain's time. Between two candidates that are closer than this, or whose quartiles overlap, the one whose answers are
# closer to FP32's is chosen: the next run would else choose the other.
SAME = 0.03
HOPELESS = 1.5  # times slower than the best: not timed any further

Round = dict[str, tuple[float, float]]  # by candidate: ms of a pass of EE, and of one of SAC


def survivors_of(batch: int, exit_rate: float) -> int:
    """How many images SAC takes of a batch, on average; at least one, so that it has a time."""
    return max(1, round((1 - exit_rate) * batch))


def chain_ms(ee_ms: float, sac_ms: float, batch: int, exit_rate: float) -> float:
    """Milliseconds of the chain per image: EE on all, SAC on those that do not exit."""
    share = (1 - exit_rate) * batch / survivors_of(batch, exit_rate)
    return (ee_ms + share * sac_ms) / batch


def time_of(name: str, reference: str, batch: int, exit_rate: float, rounds: Sequence[Round]) -> Timing | None:
    """A candidate's timing at a batch size; None where it ran in no round. Ratios are those inside a round."""
    own = [found for found in rounds if name in found]
    if not own:
        return None
    chains = [chain_ms(*found[name], batch, exit_rate) for found in own]
    ratios = [chain_ms(*found[reference], batch, exit_rate) / spent for found, spent in zip(own, chains, strict=True)]
    return Timing(
        ee_ms=round(statistics.median(found[name][0] for found in own), 4),
        sac_ms=round(statistics.median(found[name][1] for found in own), 4),
        survivors=survivors_of(batch, exit_rate),
        chain_ms=round(statistics.median(chains), 4),
        quartiles_ms=_quartiles(chains),
        speedup=round(statistics.median(ratios), 4),
        speedup_quartiles=_quartiles(ratios),
        rounds=len(own),
    )


def _quartiles(values: list[float]) -> tuple[float, float]:
    """The first and the third."""
    found = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return round(found[0], 4), round(found[2], 4)


def timed(
    candidates: Sequence[Candidate], reference: str, exit_rate: float, rounds: dict[int, list[Round]]
) -> list[Candidate]:
    """The candidates with the timings of these rounds."""
    return [
        msgspec.structs.replace(
            candidate,
            timings={
                str(batch): timing
                for batch, of_batch in rounds.items()
                if (timing := time_of(candidate.name, reference, batch, exit_rate, of_batch))
            },
        )
        for candidate in candidates
    ]


def hopeless(candidates: Sequence[Candidate], reference: str) -> set[str]:
    """Names of those that are not worth another round. The reference always is."""
    best = max(candidate.speedup or 0.0 for candidate in candidates)
    return {
        candidate.name
        for candidate in candidates
        if candidate.name != reference and HOPELESS * (candidate.speedup or 0.0) < best
    }


def choose(candidates: Sequence[Candidate]) -> tuple[Candidate, str]:
    """The choice among those that passed and were timed, and why."""
    passed = [candidate for candidate in candidates if candidate.refused is None and candidate.speedup]
    fastest = max(passed, key=lambda candidate: candidate.speedup or 0.0)
    assert fastest.speedup is not None
    close = [
        candidate
        for candidate in passed
        if (candidate.speedup or 0.0) >= (1 - SAME) * fastest.speedup
        or candidate.speedup_range[1] >= fastest.speedup_range[0]
    ]
    chosen = min(close, key=lambda candidate: (candidate.logit_error or 0.0, -(candidate.speedup or 0.0)))
    if chosen is fastest:
        return chosen, "the fastest that passes every guard"
    return chosen, (
        f"as fast as {fastest.name} within the spread, or within {SAME:.0%}, and closer to FP32: a mean logit error of"
        f" {chosen.logit_error:.2g} against {fastest.logit_error:.2g}"
    )
