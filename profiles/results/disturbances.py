"""Reasons against the numbers of a run: disturbed windows, rounds that differ, thresholds in the wrong order."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from ..conditions.state_text import some
from ..timing.load_watch import SHORTEST_S
from .spread import ratio_interval

MOST_APART = 0.25  # between the slowest and the fastest round; beyond, their mean describes neither
SAME_RATE = 0.005  # of exits; thresholds whose rates differ less cost the same
AGAIN = "End other programs and measure again"
UNSEEN = (
    "No other program was seen to cause it: check clocks and cooling, and on a virtual machine its host. Measure again with a"
    " longer --duration-s"
)


def disturbed_windows(
    windows: Mapping[str, Sequence[Mapping[str, Any]]], idles: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Windows that other programs disturbed even when they were measured again."""
    lines = [line for group in windows.values() for line in group]
    disturbed = [line for line in lines if line.get("disturbances")]
    texts = []
    if disturbed:
        worst = max(disturbed, key=lambda line: line["load"]["others"] + line["load"]["stolen"])
        repeats = sum(line["attempts"] - 1 for line in disturbed)
        again = f", although they were measured again {repeats} times" if repeats else ""
        texts.append(
            f"{len(disturbed)} of {len(lines)} windows were disturbed{again}. The worst is {worst['contender']}, round"
            f" {worst['round'] + 1}: {'; '.join(worst['disturbances'])}. {AGAIN}"
        )
    resting = [line for line in idles if line.get("disturbances")]
    if resting:
        told = [f"{line['when']} the windows: {', '.join(line['disturbances'])}" for line in resting]
        texts.append(
            f"idle power was measured on a busy machine, so energy above idle is too low: {some(told)}. {AGAIN}"
        )
    return texts


def rounds_apart(windows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Variants whose rounds differ so much that their mean describes none of them."""
    told = []
    is_explained = any(line.get("disturbances") for lines in windows.values() for line in lines)
    for name, lines in windows.items():
        costs = [line["duration_s"] / line["images"] for line in lines if line["duration_s"] >= SHORTEST_S]
        if len(costs) > 1 and max(costs) > (1 + MOST_APART) * min(costs):
            told.append(f"{name} ({1e3 * min(costs):.3g} to {1e3 * max(costs):.3g} ms per image)")
    if not told:
        return []
    return [f"the rounds lie more than {MOST_APART:.0%} apart: {some(told)}. {AGAIN if is_explained else UNSEEN}"]


def wrong_order(
    windows: Mapping[str, Sequence[Mapping[str, Any]]], contenders: Mapping[str, Mapping[str, Any]]
) -> tuple[list[str], list[str]]:
    """Neighbouring thresholds where more exits cost more time, beyond or within the spread of the rounds."""
    chains = [name for name in contenders if contenders[name]["threshold"] is not None]
    chains.sort(key=lambda name: contenders[name]["threshold"])
    beyond: list[str] = []
    within: list[str] = []
    for low, high in itertools.pairwise(chains):
        more_exits = contenders[low]["exit_rate"] - contenders[high]["exit_rate"]
        ratio = contenders[low]["ms_per_image"] / contenders[high]["ms_per_image"]
        if more_exits <= SAME_RATE or ratio <= 1:
            continue
        by_round = [
            {line["round"]: line["duration_s"] / line["images"] for line in windows[name]} for name in (low, high)
        ]
        rounds = [by_round[0][one] / by_round[1][one] for one in by_round[0] if one in by_round[1]]
        told = f"{low} takes {ratio:.2f} times as long as {high}, though {100 * more_exits:.1f} points more exit"
        (beyond if ratio_interval(ratio, rounds).lies_above(1.0) else within).append(told)
    return (
        [f"thresholds are in the wrong order: {some(beyond)}. {AGAIN}"] if beyond else [],
        [f"these thresholds cannot be told apart by time: {some(within)}"] if within else [],
    )
