"""Guards: whether a variant decides as FP32 does, by numbers and limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..bundle.gating import may_exit
from ..bundle.precision import Limits
from .decisions import Comparison, StageAnswers

BAND = 0.05  # of confidence, on either side of eta; a flip outside of it is a fault
FEWEST_JUDGED = 8  # images; fewer would pass any guard by chance
FEWEST_IN_BAND = 20  # below, a single image changes the share too much

Owner = Literal["EE", "SAC", "chain"]


@dataclass(frozen=True)
class Guard:
    """One number, its limit, and the worst image. `stage`: the stage whose layers cause it."""

    name: str
    stage: Owner
    value: float
    limit: float
    at_least: bool
    flag: str  # the option that changes the limit
    worst: float | None = None
    note: str = ""

    @property
    def holds(self) -> bool:
        """False for NaN too."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        verdict = "ok" if self.holds else "FAILED"
        sign = ">=" if self.at_least else "<="
        worst = "" if self.worst is None else f"  worst {self.worst:.3g}"
        return f"{verdict:6} {self.name:46} {self.value:8.4f}  ({sign} {self.limit:g}){worst}{self.note}"

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "value": self.value,
            "limit": self.limit,
            "at_least": self.at_least,
            "worst": self.worst,
        }


def judge(
    comparison: Comparison,
    threshold: float,
    variant_threshold: float,
    limits: Limits,
    gate_threshold: float | None = None,
) -> list[Guard]:
    """Every guard of a variant: FP32 at its threshold, the variant at its own.

    gate_threshold: where the variant's threshold was fitted to accuracy, the one that matches FP32's exit rate. Exits are
    compared at it, since a fit to accuracy changes the exit rate on purpose.
    Where hardly any image took a path, its stage is judged by its answers to all images.
    """
    exits = may_exit(comparison.confidence, threshold)
    gate = variant_threshold if gate_threshold is None else gate_threshold
    variant_exits = may_exit(comparison.variant_confidence, gate)
    flips = exits != variant_exits
    inside = np.abs(comparison.confidence - np.float32(threshold)) <= BAND
    agreement = float((~flips).mean())
    guards = []
    if len(flips) < FEWEST_JUDGED:
        guards.append(Guard("images to judge on", "chain", len(flips), FEWEST_JUDGED, True, "--calib"))
    guards += [
        Guard("exit agreement", "EE", agreement, limits.exit_agreement, True, "--min-exit-agreement",
              note=f"  {int(flips.sum())} of {len(flips)} gates flip"),
        Guard(f"gate flips farther than {BAND} from eta", "EE", float((flips & ~inside).mean()), limits.far_flips, False,
              "--max-far-flips"),
    ]  # fmt: skip
    if inside.sum() >= FEWEST_IN_BAND:
        share, count = float(flips[inside].mean()), int(inside.sum())
        guards.append(
            Guard(f"gate flips within {BAND} of eta", "EE", share, limits.band_flips, False, "--max-band-flips",
                  note=f"  of {count} images there")
        )  # fmt: skip
    guards.append(
        Guard("target blocks kept", "EE", float(comparison.overlap.mean()), limits.target_overlap, True,
              "--min-target-overlap", float(comparison.overlap.min()))
    )  # fmt: skip
    guards += _of_stage("EE", comparison.ee, exits & variant_exits, np.ones_like(exits), "exit path", limits)
    if comparison.sac is not None:
        both = ~exits & ~variant_exits
        guards += _of_stage("SAC", comparison.sac, both, ~exits | ~variant_exits, "full path", limits)
        if comparison.labels is not None:
            right, variant_right = (
                int((comparison.top1(eta, variant) == comparison.labels).sum())
                for eta, variant in ((threshold, False), (variant_threshold, True))
            )
            lost = 100 * (right - variant_right) / len(comparison.labels)
            guards.append(
                Guard(
                    "top-1 lost by the chain, in points",
                    "chain",
                    lost,
                    limits.top1_drop,
                    False,
                    "--max-top1-drop",
                )
            )
    return guards


def _of_stage(
    stage: Owner, answers: StageAnswers, path: Any, reached: Any, path_name: str, limits: Limits
) -> list[Guard]:
    """path: images that both send this way; reached: images whose logits count."""
    took = int(path.sum())
    note = f"  over {took} images"
    if took < FEWEST_JUDGED:  # too few to judge the stage by them: judge it by all images
        path, reached = np.ones_like(path), np.ones_like(reached)
        note = f"  over all {len(path)} images: only {took} took the {path_name}"
    same = answers.top1[path] == answers.variant_top1[path]
    error, worst = answers.mean_error[reached].mean(), answers.worst_error[reached].max()
    return [
        Guard(f"top-1 agreement, {path_name}", stage, float(same.mean()), limits.top1_agreement, True,
              "--min-top1-agreement", note=note),
        Guard(f"mean logit error, {stage}", stage, float(error), limits.logit_error, False, "--max-logit-error", float(worst)),
    ]  # fmt: skip
