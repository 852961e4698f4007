"""The `repr` of a pipeline, in one line."""

from __future__ import annotations

from ...bundle.manifest import Tuned
from ...machine.terminal import terminal_safe
from ..engines.stage import Stage
from .gate import Gate

SHOWN_LABELS = 3


def describe_sacs(tuned: Tuned) -> str:
    """Which SAC answers which images: `alpha 0.75 below 0.4, the own one above`."""
    names = ["the bundle's own SAC" if one.alpha is None else f"alpha {one.alpha:g}" for one in tuned.sacs]
    ends = [*(f" below {one.below:g}" for one in tuned.sacs[:-1]), " above" if len(names) > 1 else " on every image"]
    return ", ".join(name + end for name, end in zip(names, ends, strict=True))


def describe_pipeline(ee: Stage, sac: Stage, gate: Gate, tuned: Tuned | None) -> str:
    """Its engines, precision, backend, threshold and classes."""
    precision = " and ".join(dict.fromkeys([ee.record.precision, sac.record.precision]))
    files = f"{ee.path} + {sac.path.name if sac.path.parent == ee.path.parent else sac.path}"
    threshold = f"threshold {gate.threshold:g}"
    if tuned is not None:
        threshold += f" (tuned: {tuned.point})"
        if tuned.sacs:
            threshold += f", {describe_sacs(tuned)}"
    if gate.temperature not in (None, 1):
        threshold += f", temperature {gate.temperature:g}"
    *cells, count = ee.outputs["logits"].shape
    classes = f"{count} classes" + (f" for {cells[0]} x {cells[1]} cells" if cells else "")
    if labels := ee.record.labels:
        more = ", ..." if len(labels) > SHOWN_LABELS else ""
        classes += f" ({', '.join(labels[:SHOWN_LABELS])}{more})"
    side = ee.record.preprocessing.image_size
    return terminal_safe(
        f"Pipeline({files}: {precision} on {ee.backend}, {side} x {side} pixels, {threshold}, {classes})"
    )
