"""The FP32 graphs of a checkpoint's two stages, without metadata."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from ..bundle.precision import FORMS, Form, Products
from ..model.checkpoint import Checkpoint
from .graphs.selection import HandOff
from .graphs.stages import build_ee, build_sac
from .graphs.writers import WRITERS
from .precision.options import Graphs


def build_graphs(
    checkpoint: Checkpoint,
    batch: int | None,
    forms: Sequence[Form] = FORMS,
    products: Products = "masked",
    handed: HandOff | None = None,
) -> Graphs:
    """The pair in each of these forms. products: see `clusters`. handed: what EE hands over, where several SACs read it;
    a classifier's alone can."""
    weights = {name: tensor.numpy() for name, tensor in checkpoint.model.state_dict().items()}
    parts = (checkpoint.config, weights, checkpoint.preprocessing, batch)
    if handed is not None:
        return {
            form: {"EE": build_ee(*parts, form, handed), "SAC": build_sac(*parts, form, products, handed)}
            for form in forms
        }
    writers = WRITERS[checkpoint.config.task]
    return {form: {"EE": writers.ee(*parts, form), "SAC": writers.sac(*parts, form, products)} for form in forms}


def build_pair(checkpoint: Checkpoint, batch: int | None) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The EE and the SAC graph as ONNX Runtime gets them."""
    pair = build_graphs(checkpoint, batch, ("cpu",))["cpu"]
    return pair["EE"], pair["SAC"]
