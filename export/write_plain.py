"""The plain single-stage ViT of a geometry: what the chain has to beat, in the same precisions, by the same steps."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import onnx

from ..bundle.files import written_whole
from ..bundle.plan_record import PLAIN_RECORD_NAME
from ..bundle.precision import FORMS, PRECISIONS, Form, Precision, file_name
from ..bundle.preprocess import ImageU8, Preprocessing
from ..bundle.records import write_record
from ..bundle.stage_record import DEFAULT_THRESHOLD, StageRecord
from ..calibration.activations import observe
from ..calibration.qdq_placement import weighted_layers
from ..calibration.quantizers import BY_LARGEST, QUANTIZERS
from ..calibration.stored_weights import store_quantized
from ..model.checkpoint import Checkpoint
from ..model.dense import NETWORKS
from ..model.network import PlainViT
from .checks.lint import require_clean
from .graphs.writers import WRITERS
from .precision.retype import retype


def export_plain(model: PlainViT, preprocessing: Preprocessing, path: Path) -> None:
    """Writes the network with a symbolic batch. Its record names no partner: it belongs to no pair."""
    with written_whole(path) as partial:
        partial.write_bytes(plain_graphs(model, preprocessing, None, "", ("cpu",))["cpu"].SerializeToString())


def plain_graphs(
    model: PlainViT,
    preprocessing: Preprocessing,
    batch: int | None,
    checkpoint: str,
    forms: Sequence[Form] = FORMS,
) -> dict[Form, onnx.ModelProto]:
    """The FP32 graph in each of these forms, with its record. checkpoint: the SHA-256 of where the weights come from, or ""."""
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    write = WRITERS[model.config.task].plain
    graphs = {form: write(model.config, weights, preprocessing, batch, form) for form in forms}
    require_clean("plain.onnx", graphs["cpu"])
    own = hashlib.sha256(graphs["cpu"].SerializeToString(deterministic=True)).hexdigest()
    record = StageRecord(
        "plain", model.config.to_dict(), preprocessing, None, checkpoint or own, own, "", DEFAULT_THRESHOLD, "default"
    )
    for graph in graphs.values():
        onnx.helper.set_model_props(graph, record.to_metadata())
    return graphs


def plain_variants(
    graphs: Mapping[Form, onnx.ModelProto],
    images: ImageU8,
    wanted: Collection[Precision],
    qdq_weights: bool = False,
) -> dict[Precision, onnx.ModelProto]:
    """The graph and its typed variants, made by the steps that make the chain's; ranges by `mse` over `images`.

    qdq_weights: as in PrecisionOptions.
    """
    made: dict[Precision, onnx.ModelProto] = {"fp32": graphs["cpu"]}
    rows = [row for row in PRECISIONS if row.name in wanted and row.name != "fp32"]
    if not rows:
        return made
    names = [layer.activation for layer in weighted_layers(graphs["cpu"])]
    seen, at_gpu = (
        observe("plain.onnx", graphs[form], wanted_names, ((1, {"image": image[None]}) for image in images))
        for form, wanted_names in zip(FORMS, (names, []), strict=True)
    )
    largest = seen.largest | at_gpu.largest
    ranges = {name: histogram.range_by("mse") for name, histogram in seen.histograms.items()}
    record = {entry.key: entry.value for entry in graphs["cpu"].metadata_props}
    for row in rows:
        typed = graphs[row.form]
        if row.quantizer:
            typed = QUANTIZERS[row.quantizer](typed, largest if row.quantizer in BY_LARGEST else ranges, [])
        if row.body != "fp32":
            typed = retype(typed, at_gpu.largest, body=row.body)[0]
        if row.quantizer and not qdq_weights:
            typed = store_quantized(typed)
        onnx.helper.set_model_props(typed, {**record, "sacvit.precision": row.name})
        made[row.name] = typed
    return made


def write_plain_variants(variants: dict[Precision, onnx.ModelProto], folder: Path) -> None:
    """plain.onnx, plain.fp16.onnx and so on, and their record for programs without the onnx package."""
    for precision, model in variants.items():
        (folder / file_name("plain", precision)).write_bytes(model.SerializeToString())
    record = {entry.key: entry.value for entry in variants["fp32"].metadata_props}
    write_record(folder / PLAIN_RECORD_NAME, record)


def plain_of(checkpoint: Checkpoint) -> PlainViT:
    """A plain ViT with the two-stage network's weights: time and power are those of a trained one, its answers mean nothing."""
    model = NETWORKS[checkpoint.config.task].plain(
        checkpoint.config, checkpoint.preprocessing.mean, checkpoint.preprocessing.std
    )
    weights = checkpoint.model.state_dict()
    weights["pos_embed"] = checkpoint.model.fine_positions.detach()
    model.load_state_dict({name: weights[name] for name in model.state_dict()})
    return model
