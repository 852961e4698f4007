"""Writes the metadata of an export's graphs: each stage's record, the hand-off, the threshold."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import onnx

from ..bundle import manifest
from ..bundle.manifest import Tensor, Threshold
from ..bundle.precision import Precision
from ..bundle.stage_record import DEFAULT_THRESHOLD, DENSE_HAND_OFF, HAND_OFF, STAGES, StageName, StageRecord
from ..model.checkpoint import Checkpoint
from ..model.config import ModelConfig
from .further_sacs import FurtherSac
from .graphs.selection import HandOff
from .precision.options import Variant, Variants


def stamp(
    pairs: Mapping[Precision, tuple[onnx.ModelProto, onnx.ModelProto]],
    further: Sequence[FurtherSac],
    checkpoint: Checkpoint,
    labels: list[str] | None,
    threshold: Threshold,
    variants: Variants | None = None,
) -> tuple[dict[StageName, str], dict[str, manifest.FurtherSac]]:
    """Writes each graph's record into its metadata, the variants' with their own precision and threshold.

    further: SACs with other shares of target blocks. Returns the hash of each FP32 graph by stage, and the manifest's entry of
    each further one by alpha.
    """
    hashes: dict[StageName, str] = {stage: hash_of(model) for stage, model in zip(STAGES, pairs["fp32"], strict=True)}
    entries = {
        f"{one.alpha:g}": manifest.FurtherSac(hash_of(one.models["fp32"]), one.config.targets) for one in further
    }
    ee = StageRecord(
        stage="EE",
        config=checkpoint.config.to_dict(),
        preprocessing=checkpoint.preprocessing,
        labels=labels,
        checkpoint_sha256=checkpoint.sha256,
        graph_sha256=hashes["EE"],
        partner_sha256=hashes["SAC"],
        threshold=threshold.value,
        threshold_source=threshold.source,
        hand_off=DENSE_HAND_OFF if checkpoint.config.task == "dense" else HAND_OFF,
        further_partners=tuple(one.graph for one in entries.values()),
    )
    sac = replace(
        ee,
        stage="SAC",
        graph_sha256=hashes["SAC"],
        partner_sha256=hashes["EE"],
        further_partners=(),
        targets=checkpoint.config.targets if further else None,
    )
    typed = {variant.precision: variant for variant in variants.made} if variants else {}
    for kind, models in pairs.items():
        for record, model in zip((ee, sac), models, strict=True):
            onnx.helper.set_model_props(model, _of_kind(record, typed.get(kind), threshold).to_metadata())
    for one in further:
        entry = entries[f"{one.alpha:g}"]
        own = replace(sac, config=one.config.to_dict(), graph_sha256=entry.graph, targets=entry.targets)
        for kind, model in one.models.items():
            onnx.helper.set_model_props(model, _of_kind(own, typed.get(kind), threshold).to_metadata())
    return hashes, entries


def _of_kind(record: StageRecord, variant: Variant | None, threshold: Threshold) -> StageRecord:
    """The record of an FP32 graph, or of the same in a variant's precision."""
    if variant is None:
        return record
    is_unfitted = variant.threshold_source == "unchanged"
    return replace(
        record,
        precision=variant.precision,
        threshold=variant.threshold,
        threshold_source=threshold.source if is_unfitted else variant.threshold_source,
        threshold_fp32=threshold.value,
    )


def hash_of(model: onnx.ModelProto) -> str:
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()


def hand_off(config: ModelConfig, handed: HandOff) -> list[Tensor]:
    """The tensors that EE hands to SAC, in order."""
    shapes = {
        "target_index": ("int32", [handed.targets]),
        "target_context": ("float32", [handed.targets, config.width]),
        "non_target": ("float32", [handed.non_targets, config.width]),
        "non_target_index": ("int32", [handed.non_targets]),
    }
    names = DENSE_HAND_OFF if config.task == "dense" else HAND_OFF
    return [Tensor(name, *shapes[name]) for name in names]


def choose_threshold(given: float | None, checkpoint: Checkpoint) -> Threshold:
    """The given threshold, else the checkpoint's, else the default, with its source."""
    if given is not None:
        return Threshold(given, "option")
    if checkpoint.threshold is not None:
        return Threshold(checkpoint.threshold, "checkpoint")
    return Threshold(DEFAULT_THRESHOLD, "default")
