"""The sensitivity of layers: each one is changed alone, everything else stays in FP32."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from ..bundle.files import written_whole
from ..bundle.gating import confidence_of
from .onnx_session import Arrays, Session

COLUMNS = "stage,layer,mean_logit_error,worst_logit_error,mean_confidence_shift,top1_changes,images"


@dataclass(frozen=True)
class Effect:
    """The effect of one layer alone on its stage's logits. confidence_shift is |difference| of the largest probability."""

    stage: str
    layer: str
    mean_error: float
    worst_error: float
    confidence_shift: float
    top1_changes: int
    images: int


def measure_sensitivity(
    stage: str,
    reference: onnx.ModelProto,
    layers: Iterable[str],
    with_only: Callable[[str], onnx.ModelProto],
    feed: list[Arrays],
    progress: Callable[[int], object] = lambda n: None,
) -> list[Effect]:
    """The effect of every layer, worst first. with_only: the graph in which that layer alone is changed."""
    truth = Session(reference)
    expected = [truth.run(inputs)["logits"] for inputs in feed]
    effects = []
    for layer in layers:
        session = Session(with_only(layer))
        found = [session.run(inputs)["logits"] for inputs in feed]
        mine, theirs = np.concatenate(found).astype(np.float64), np.concatenate(expected).astype(np.float64)
        error = np.abs(mine - theirs)
        effects.append(
            Effect(
                stage=stage,
                layer=layer,
                mean_error=float(error.mean()),
                worst_error=float(error.max()),
                confidence_shift=float(np.abs(confidence_of(mine) - confidence_of(theirs)).mean()),
                top1_changes=int((mine.argmax(-1) != theirs.argmax(-1)).sum()),
                images=len(mine),
            )
        )
        progress(1)
    return worst_first(effects)


def worst_first(effects: Iterable[Effect]) -> list[Effect]:
    """Sorts by mean logit error; NaN counts as the worst."""
    return sorted(effects, key=lambda effect: -np.inf if np.isnan(effect.mean_error) else -effect.mean_error)


def write_table(path: Path, effects: Iterable[Effect]) -> None:
    """The effects as CSV, worst first within each stage."""
    lines = [COLUMNS]
    lines += [
        f"{effect.stage},{effect.layer},{effect.mean_error:.6g},{effect.worst_error:.6g},"
        f"{effect.confidence_shift:.6g},{effect.top1_changes},{effect.images}"
        for effect in effects
    ]
    with written_whole(path) as partial:
        partial.write_text("\n".join(lines) + "\n", "utf-8")
