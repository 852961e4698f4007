"""The plain ViT of a bundle as a plan, built as a stage of the chain was: what sacvit-profile --plain measures against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...bundle.errors import EngineError
from ...bundle.files import sha256_of
from ...bundle.plan_record import PLAIN_RECORD_NAME, Gpu, PlanRecord
from ...bundle.precision import Precision, file_name
from ...bundle.records import read_record
from ...bundle.stage_record import StageRecord

NAME = "plain.plan"


def has_plain(folder: Path) -> bool:
    """Whether the bundle was exported with --plain."""
    return (folder / PLAIN_RECORD_NAME).is_file()


def build_plain_plan(
    folder: Path,
    precision: Precision,
    batches: tuple[int, ...],
    tensorrt: str,
    gpu: Gpu,
    out: Path,
    build_stage: Callable[[Path, Path], dict[str, Any]],
) -> Path:
    """plain.plan with its record in `out`. build_stage: builds an ONNX file into a plan, as the chain's were.

    It is not checked: it has no answers to be checked against, and nobody is to believe any. Raises EngineError when the
    bundle lacks the graph or its record is damaged.
    """
    onnx = folder / file_name("plain", precision)
    described = folder / PLAIN_RECORD_NAME
    if not onnx.is_file():
        raise EngineError(f"{onnx} is missing. Export again: sacvit-export --plain, with --fp16 --int8 as before")
    metadata = read_record(described, dict[str, str], "Export again: sacvit-export --plain")
    record = StageRecord.from_metadata(described, metadata)
    plan = out / NAME
    built = build_stage(onnx, plan)
    PlanRecord(
        record=replace(record, precision=precision),
        plan_sha256=sha256_of(plan),
        plan_bytes=plan.stat().st_size,
        onnx=onnx.name,
        onnx_sha256=sha256_of(onnx),
        tensorrt=tensorrt,
        gpu=gpu,
        batches=batches,
        capacity=batches[-1],
        build=built,
    ).write(plan)
    return plan
