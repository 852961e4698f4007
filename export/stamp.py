"""Writes the metadata of an export's graphs: each stage's record, the hand-off, the threshold."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import onnx

from ..bundle.manifest import Tensor, Threshold
from ..bundle.stage_record import (
    DEFAULT_THRESHOLD,
    DENSE_HAND_OFF,
    HAND_OFF,
    STAGES,
    StageName,
    StageRecord,
)
from ..model.checkpoint import Checkpoint
from ..model.config import ModelConfig
from .precision.options import Variants


def stamp(
    ee: onnx.ModelProto,
    sac: onnx.ModelProto,
    checkpoint: Checkpoint,
    labels: list[str] | None,
    threshold: Threshold,
    variants: Variants | None = None,
) -> dict[StageName, str]:
    """Writes each graph's record into its metadata, the variants' with their own precision and threshold.

    Returns the hash of each FP32 graph by stage.
    """
    hashes: dict[StageName, str] = {
        stage: hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
        for stage, model in zip(STAGES, (ee, sac), strict=True)
    }
    for stage, partner in zip(STAGES, reversed(STAGES), strict=True):
        record = StageRecord(
            stage=stage,
            config=checkpoint.config.to_dict(),
            preprocessing=checkpoint.preprocessing,
            labels=labels,
            checkpoint_sha256=checkpoint.sha256,
            graph_sha256=hashes[stage],
            partner_sha256=hashes[partner],
            threshold=threshold.value,
            threshold_source=threshold.source,
            hand_off=tuple(tensor.name for tensor in hand_off(checkpoint.config)),
        )
        onnx.helper.set_model_props(ee if stage == "EE" else sac, record.to_metadata())
        for variant in variants.made if variants else ():
            typed = replace(
                record,
                precision=variant.precision,
                threshold=variant.threshold,
                threshold_source=threshold.source
                if variant.threshold_source == "unchanged"
                else variant.threshold_source,
                threshold_fp32=threshold.value,
            )
            onnx.helper.set_model_props(variant.ee if stage == "EE" else variant.sac, typed.to_metadata())
    return hashes


def hand_off(config: ModelConfig) -> list[Tensor]:
    """The tensors that EE hands to SAC, in order."""
    shapes = {
        "target_index": ("int32", [config.targets]),
        "target_context": ("float32", [config.targets, config.width]),
        "non_target": ("float32", [config.non_targets, config.width]),
        "non_target_index": ("int32", [config.non_targets]),
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
