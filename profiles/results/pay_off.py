"""Whether two stages pay off in a run: compares the break-even exit rate and the measured gain, with their intervals.

A gain within its spread does not count as a gain. A gain that contradicts the costs of the paths is reported: one of them was
disturbed, or an image's cost depends on more than its path.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..timing.contenders import ALWAYS, NEVER, PLAIN
from .break_even import BreakEven, break_even
from .spread import Interval, interval_of, ratio_interval

CONTRADICTS = 0.10  # allowed relative difference from the gain that the paths predict: caches, clocks, the gate
Verdict = Literal["gain", "loss", "no difference", "unknown", "contradiction"]
WORDS: dict[Verdict, str] = {
    "gain": "a gain",
    "loss": "a loss",
    "no difference": "no gain beyond the spread of the rounds",
    "unknown": "one round does not show whether this is a gain",
    "contradiction": "this contradicts the costs of the paths",
}


@dataclass(frozen=True)
class Cost:
    """A cost per image in one round. bound: the error that all rounds may share; None where it is unknown."""

    value: float
    bound: float | None


@dataclass(frozen=True)
class Costs:
    """The cost per image of one variant: over all of its windows, and by round."""

    mean: float
    rounds: Mapping[int, Cost]

    @property
    def bound(self) -> float | None:
        known = [cost.bound for cost in self.rounds.values() if cost.bound is not None]
        return max(known) if len(known) == len(self.rounds) else None


@dataclass(frozen=True)
class PayOff:
    """The break-even of one threshold and unit.

    needed: the exit rate from which on the chain costs less. fit: the ratio of the gain to the one that the costs of the paths
    predict at this exit rate. is_linear: whether they can predict it. They cannot where the survivors of a batch share a pass,
    whose cost per image falls with their number.
    """

    costs: BreakEven
    needed: Interval
    gain: Interval
    fit: Interval
    rounds: int
    is_linear: bool

    @property
    def verdict(self) -> Verdict:
        if self.gain.low is None:
            return "unknown"
        is_apart = self.fit.lies_above(1.0) or self.fit.lies_below(1.0)
        if self.is_linear and is_apart and abs(math.log(self.fit.value)) > CONTRADICTS:
            return "contradiction"
        if self.gain.lies_above(1.0):
            return "gain"
        return "loss" if self.gain.lies_below(1.0) else "no difference"

    @property
    def predicted(self) -> float:
        return self.gain.value / self.fit.value

    @property
    def text(self) -> str:
        """One line for people."""
        verdict = self.verdict
        spread = "one round" if self.gain.low is None else f"{self.gain.text('.2f')} over {self.rounds} rounds"
        said = WORDS[verdict]
        if verdict == "contradiction":
            said += f", which predict {self.predicted:.2f}x; measure again"
        return f"{self.gain.value:.2f}x over the plain ViT ({spread}): {said}. {self.needed_text}"

    @property
    def needed_text(self) -> str:
        measured = f"{self.costs.measured_exit_rate:.1%} exit"
        if self.needed.lies_above(1.0):
            return f"By the costs of the paths two stages never pay off; {measured}"
        if self.needed.lies_below(0.0):
            return f"By the costs of the paths two stages always pay off; {measured}"
        if self.needed.covers(0.0, 1.0):
            return f"The rounds differ too much to say above which exit rate two stages pay off; {measured}"
        spread = "" if self.needed.low is None else f" ({self.needed.text('.1%')})"
        return f"By the costs of the paths two stages pay off above {self.needed.value:.1%} exits{spread}; {measured}"

    def to_dict(self) -> dict[str, Any]:
        ends = {
            f"{name}_{end}": None if value is None else round(value, 6)
            for name, interval in (("exit_rate", self.needed), ("gain", self.gain))
            for end, value in (("low", interval.low), ("high", interval.high))
        }
        return {
            **self.costs.to_dict(),
            **ends,
            "predicted_gain": round(self.predicted, 6),
            "rounds": self.rounds,
            "verdict": self.verdict,
            "text": self.text,
        }


def pay_off(
    costs: Mapping[str, Costs], name: str, exit_rate: float, exit_rates: Mapping[int, float], batch: int
) -> PayOff | None:
    """The break-even of the variant `name`; None where a stage costs nothing by its mean.

    costs: by variant. exit_rate: of `name` over all of its windows; exit_rates: by round.
    """
    exits, full, plain, chain = (costs[part] for part in (ALWAYS, NEVER, PLAIN, name))
    whole = break_even(exits.mean, full.mean, plain.mean, exit_rate, chain.mean)
    if whole is None:
        return None
    common = sorted(set(exits.rounds) & set(full.rounds) & set(plain.rounds) & set(chain.rounds))
    rounds = [
        break_even(
            exits.rounds[one].value,
            full.rounds[one].value,
            plain.rounds[one].value,
            exit_rates[one],
            chain.rounds[one].value,
        )
        for one in common
    ]
    known = [one for one in rounds if one is not None]
    plain_bound, chain_bound = plain.bound, chain.bound
    if len(known) < len(rounds) or plain_bound is None or chain_bound is None:
        return PayOff(
            whole, Interval(whole.exit_rate), Interval(whole.gain), Interval(_fit(whole)), len(common), batch == 1
        )
    bound = plain_bound / plain.mean + chain_bound / chain.mean
    return PayOff(
        costs=whole,
        needed=interval_of(whole.exit_rate, [one.exit_rate for one in known], _worst(exits, full, plain)),
        gain=ratio_interval(whole.gain, [one.gain for one in known], bound),
        fit=ratio_interval(_fit(whole), [_fit(one) for one in known], bound),
        rounds=len(common),
        is_linear=batch == 1,
    )


def _fit(costs: BreakEven) -> float:
    predicted = costs.plain / (costs.ee + (1 - costs.measured_exit_rate) * costs.sac)
    return costs.gain / predicted


def _worst(exits: Costs, full: Costs, plain: Costs) -> float | None:
    """The largest change of the break-even exit rate within the sensors' errors of all costs; None where it is unbounded."""
    if exits.bound is None or full.bound is None or plain.bound is None:
        return None
    centre, found = (full.mean - plain.mean) / (full.mean - exits.mean), []
    for at_exit, at_full, at_plain in itertools.product((-1, 1), repeat=3):
        exit_cost, full_cost = exits.mean + at_exit * exits.bound, full.mean + at_full * full.bound
        if full_cost <= exit_cost:
            return None
        found.append((full_cost - plain.mean - at_plain * plain.bound) / (full_cost - exit_cost))
    return max(abs(one - centre) for one in found)
