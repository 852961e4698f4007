"""Finds the layers that cause a variant's wrong decisions, and writes the message for the user."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from ...bundle.precision import PRECISIONS, Family, row_of
from ...calibration.onnx_session import Arrays
from ...calibration.quantizers import BY_LARGEST
from ...calibration.sensitivity import Effect, measure_sensitivity, worst_first, write_table
from .cascade import Cascade, progress
from .options import STAGES, Stage, Variant
from .retype import group_of, retype
from .rounding import rounded_as_typed

SENSITIVITY_IMAGES = 32
NAMED_LAYERS = 5  # in the message of a failed guard


def measure_both(cascade: Cascade, variant: Variant) -> list[Effect]:
    """The effects in both stages, also written to the file of --sensitivity."""
    kind = row_of(variant.precision).family
    effects = [effect for stage in STAGES for effect in measure_stage(cascade, stage, kind)]
    path = cascade.options.sensitivity
    if path is not None:
        from ...calibration.sensitivity_plot import draw_sensitivity  # here: only this needs matplotlib

        write_table(path, effects)
        picture = path.with_suffix(".png")
        draw_sensitivity(picture, effects, f"One layer in {kind.upper()}, all others in FP32")
        cascade.report(f"sensitivity: {path} and {picture}")
    return effects


def measure_stage(cascade: Cascade, stage: Stage, kind: Family) -> list[Effect]:
    """Each layer of a stage quantised alone, or each group of operators alone in the type of the body; worst first."""
    row = [row for row in PRECISIONS if row.family == kind][-1]
    model, ranges = cascade.graphs[row.form][stage], cascade.ranges[stage]
    quantizer = row.quantizer
    if quantizer is not None:
        names = [layer.name for layer in cascade.layers[stage] if layer.name not in cascade.dead(stage)]

        def with_only(layer: str) -> onnx.ModelProto:
            return cascade.quantised_by(quantizer, stage, model, [name for name in every if name != layer])

        every = [layer.name for layer in cascade.layers[stage]]
    else:
        found = (group_of(node.name) for node in model.graph.node)
        names = list(dict.fromkeys(group for group in found if group))

        def with_only(layer: str) -> onnx.ModelProto:
            limit = cascade.options.fp16_limit
            return rounded_as_typed(retype(model, ranges.largest, limit, only=layer, body=row.body)[0])

    size = cascade.reference.chunk
    stride = max(1, cascade.images.count // SENSITIVITY_IMAGES)
    sample = [image for index, image in enumerate(cascade.images.read()) if index % stride == 0][:SENSITIVITY_IMAGES]
    feed: list[Arrays] = []
    for start in range(0, len(sample), size):
        batch = np.stack(sample[start : start + size])
        inputs: Arrays = {"image": cascade.reference.filled(batch)}
        feed.append(inputs if stage == "EE" else cascade.reference.sac_inputs(batch, cascade.reference.run_ee(batch)))
    with progress(len(names), f"sensitivity of {stage}", "layer") as bar:
        return measure_sensitivity(stage, model, names, with_only, feed, bar.update)


def complain(breached: Sequence[Variant], effects: Sequence[Effect], auto: bool, on_strangers: bool = False) -> str:
    """The message for a variant that does not decide as FP32 does.

    on_strangers: whether it was judged on images of another kind than the model's, and so by stricter limits.
    """
    lines: list[str] = []
    flags: dict[str, None] = {}
    blamed: set[str] = set()
    for variant in breached:
        lines.append(f"{variant.precision} does not decide as FP32 does; nothing was written:")
        for guard in variant.guards:
            if not guard.holds:
                lines.append(f"  {guard}")
                flags[guard.flag] = None
                blamed |= {"EE", "SAC"} if guard.stage == "chain" else {guard.stage}
    row = row_of(breached[0].precision)
    kind = row.family.upper()
    lines.append(f"What hurts most, alone in {kind} (mean logit error over {effects[0].images} images):")
    worst = worst_first(effect for effect in effects if effect.stage in blamed)[:NAMED_LAYERS]
    longest = max((len(effect.layer) for effect in worst), default=0)
    lines += [f"  {effect.stage:3} {effect.layer:{longest}} {effect.mean_error:.4f}" for effect in worst]
    if row.quantizer:
        cures = "" if auto else "--auto, which leaves the worst layers in FP16; "
        cures += "more calibration images"
        cures += "" if row.quantizer in BY_LARGEST else "; another --calib-method"
    elif row.body == "fp16":
        cures = "a lower --fp16-limit keeps more in FP32"
    else:
        cures = "--fp16, which rounds eight times as finely"
    if on_strangers:
        cures = f"--calib DIR with images of the model's own, for which the limits are wider; {cures}"
    lines.append(f"Try: {cures}. A wider limit, if you accept what it means: {', '.join(flags)}")
    return "\n".join(lines)
