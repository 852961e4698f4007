"""Compares a variant with the FP32 pair, image by image: the numbers for guards and thresholds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from ..bundle.gating import may_exit

if TYPE_CHECKING:  # a device compares without onnx
    from ..images.arrays import Labels
    from ..images.calibration_set import ImageSet
    from .onnx_session import Pair

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Name = TypeVar("Name", bound=str)


@dataclass(frozen=True)
class StageAnswers:
    """Of one stage, per image, all (N,): FP32's class, the variant's, mean and largest |logit difference|."""

    top1: Integers
    variant_top1: Integers
    mean_error: Floats
    worst_error: Floats


@dataclass(frozen=True)
class Comparison:
    """A variant against FP32, per image, all (N,). Every image went through SAC, whatever its confidence, so that any threshold
    can be tried afterwards. `overlap` is the share of FP32's target blocks that are the variant's too.
    """

    confidence: npt.NDArray[np.float32]
    variant_confidence: npt.NDArray[np.float32]
    overlap: Floats
    ee: StageAnswers
    sac: StageAnswers | None  # None while only EE is compared
    labels: Labels | None

    def top1(self, threshold: float, variant: bool) -> Integers:
        """The chain's classes at a threshold: FP32's or the variant's."""
        assert self.sac is not None
        confidence = self.variant_confidence if variant else self.confidence
        stages = (self.ee.variant_top1, self.sac.variant_top1) if variant else (self.ee.top1, self.sac.top1)
        return np.where(may_exit(confidence, threshold), *stages)

    def accuracy(self, threshold: float, variant: bool) -> float:
        """Top-1 of the chain in [0, 1]; there must be labels."""
        return float((self.top1(threshold, variant) == self.labels).mean())


@dataclass
class _Collector:
    top1: list[Integers] = field(default_factory=list)
    variant_top1: list[Integers] = field(default_factory=list)
    mean_error: list[Floats] = field(default_factory=list)
    worst_error: list[Floats] = field(default_factory=list)

    def add(self, logits: npt.NDArray[np.float32], found: npt.NDArray[np.float32]) -> None:
        error = np.abs(found.astype(np.float64) - logits)
        self.top1.append(logits.argmax(-1))
        self.variant_top1.append(found.argmax(-1))
        self.mean_error.append(error.mean(-1))
        self.worst_error.append(error.max(-1))

    def answers(self) -> StageAnswers:
        return StageAnswers(*(np.concatenate(part) for part in vars(self).values()))


def answers_between(logits: npt.NDArray[np.float32], found: npt.NDArray[np.float32]) -> StageAnswers:
    """FP32's logits (N, C) beside those of a variant."""
    collector = _Collector()
    collector.add(logits, found)
    return collector.answers()


def compare(
    reference: Pair, variants: Mapping[Name, Pair], images: ImageSet, progress: Callable[[int], object] = lambda n: None
) -> dict[Name, Comparison]:
    """Every variant against the reference, in one pass over the images.

    Each variant's SAC gets the outputs of its own EE, as in use. SAC is left out where the reference has none.
    """
    ee = {name: _Collector() for name in variants}
    sac = {name: _Collector() for name in variants}
    overlap: dict[Name, list[Floats]] = {name: [] for name in variants}
    confidence: dict[Name | None, list[npt.NDArray[np.float32]]] = {name: [] for name in (None, *variants)}
    for batch in images.batches(reference.chunk):
        truth = reference.run_ee(batch)
        truth_sac = reference.run_sac(batch, truth) if reference.sac is not None else None
        confidence[None].append(truth["confidence"])
        for name, pair in variants.items():
            found = pair.run_ee(batch)
            ee[name].add(truth["logits"], found["logits"])
            confidence[name].append(found["confidence"])
            kept = (truth["target_index"][:, :, None] == found["target_index"][:, None]).any(2)
            overlap[name].append(kept.mean(1))
            if truth_sac is not None:
                sac[name].add(truth_sac, pair.run_sac(batch, found))
        progress(len(batch))
    return {
        name: Comparison(
            confidence=np.concatenate(confidence[None]),
            variant_confidence=np.concatenate(confidence[name]),
            overlap=np.concatenate(overlap[name]),
            ee=ee[name].answers(),
            sac=sac[name].answers() if reference.sac is not None else None,
            labels=images.labels,
        )
        for name in variants
    }
