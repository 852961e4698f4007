"""One sentence per result: whether the second stage earns its cost on this data."""

from __future__ import annotations

import math

from ..results.profile_shape import Mode, PayOff
from ..results.tune_shape import Tune

CHANCE = 0.025  # one-sided: the probability of such a gain if SAC helped as often as it harmed
EXACT = 1000  # images that changed; beyond, the normal distribution is accurate enough


def tune_verdict(result: Tune, name: str) -> tuple[bool, str]:
    """Whether it does so at the operating point `name`, and the sentence: accuracy and time against EE alone and the plain
    ViT."""
    at, ee, sac, plain = (
        result["points"][name]["report"], result["always"]["EE"], result["always"]["SAC"], result["plain"],
    )  # fmt: skip
    images, gate = result["data"]["images_report"], at["gate"]
    better, worse = (round(gate[kind] * images) for kind in ("rescued", "broken by SAC"))
    plain_top1 = None if plain is None else plain["top1"]
    if plain is not None and plain_top1 is not None and plain_top1 >= at["top1"] and plain["mean_ms"] <= at["mean_ms"]:
        return False, (
            f"The two stages do not earn their cost on this data: the plain ViT is right on {_percent(plain_top1)} in"
            f" {plain['mean_ms']:.3g} ms per image, the chain on {_percent(at['top1'])} in {at['mean_ms']:.3g} ms."
        )
    if at["exit_rate"] == 1:
        return (
            False,
            f"The second stage is not used at this threshold: EE answers every image, and is right on {_percent(at['top1'])}.",
        )
    went_on = f"{_percent(1 - at['exit_rate'])} of the images go on to SAC, which corrects {better} of them and breaks {worse}"
    if not is_beyond_chance(better, worse):
        return False, (
            f"The second stage does not earn its cost on this data: {went_on}, a difference within chance, and takes"
            f" {at['mean_ms'] - ee['mean_ms']:.3g} ms more per image; EE alone is right on {_percent(ee['top1'])}."
        )
    return True, (
        f"The second stage earns its cost on this data: {went_on}, so top-1 rises from {_percent(ee['top1'])} (EE alone) to"
        f" {_percent(at['top1'])} while the mean time per image rises from {ee['mean_ms']:.3g} to {at['mean_ms']:.3g} ms"
        f" (SAC on every image: {_percent(sac['top1'])} in {sac['mean_ms']:.3g} ms)."
    )


def profile_verdict(mode: Mode) -> tuple[bool, str]:
    """Whether the chain is faster than the plain ViT at the shown threshold, and the exit rate from which on it is."""
    found, name = mode["break_even"]["by_threshold"], mode["main"]
    told = None if found is None or name is None else found.get(name, {}).get("latency")
    if mode["valid"] is False:
        return (
            False,
            "Whether the second stage earns its cost is not known from this run: the measurement was disturbed.",
        )
    if told is None:
        reason = mode["break_even"]["reason"] or "its time was not measured"
        return False, f"Whether the second stage earns its cost is not known from this run: {reason}."
    exits, gain = f"{_percent(told['measured_exit_rate'])} of the images exit at {name}", told["gain"]
    speed = f"is {gain:.2f} times as fast" if gain >= 1 else f"takes {1 / gain:.2f} times as long"
    compared = f"{exits}, and the chain {speed} as the plain ViT ({_limit(told)})"
    match told["verdict"]:
        case "gain":
            return True, f"The second stage earns its cost in time on these images: {compared}."
        case "loss" | "no difference":
            within = ", a difference within the spread of the rounds" if told["verdict"] == "no difference" else ""
            return False, f"The second stage does not earn its cost in time on these images: {compared}{within}."
    why = "the rounds and the costs of the paths contradict each other" if told["rounds"] > 1 else "there was one round"
    return False, f"Whether the second stage earns its cost is not known from this run: {why}; {compared}."


def _limit(told: PayOff) -> str:
    """The exit rate from which on the chain is faster, by the costs of its paths."""
    needed, low, high = told["exit_rate"], told["exit_rate_low"], told["exit_rate_high"]
    if low is not None and high is not None and low <= 0 and high >= 1:
        return "the rounds differ too much to say above which exit rate it is faster"
    if needed > 1:
        return "it would be faster at no exit rate"
    return "it is faster at every exit rate" if needed <= 0 else f"it is faster when more than {_percent(needed)} exit"


def is_beyond_chance(better: int, worse: int) -> bool:
    """Whether significantly more images got better than worse: McNemar's exact test, one-sided."""
    changed = better + worse
    if changed > EXACT:
        return better - worse > 1.96 * math.sqrt(changed)
    tail = sum(math.comb(changed, count) for count in range(better, changed + 1))
    return changed > 0 and tail <= CHANCE * 2**changed


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
