"""The plain ViT of a bundle, which becomes a plan as a stage of the chain does: what sacvit-profile --plain measures against.

Its plan is not checked: it has no reference answers, and its answers are not to be used.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ...bundle.errors import EngineError
from ...bundle.plan_record import PLAIN_RECORD_NAME
from ...bundle.precision import Precision, file_name
from ...bundle.records import read_record
from ...bundle.stage_record import StageRecord


def has_plain(folder: Path) -> bool:
    """Whether the bundle was exported with --plain."""
    return (folder / PLAIN_RECORD_NAME).is_file()


def plain_source(folder: Path, precision: Precision) -> tuple[Path, StageRecord]:
    """The ONNX file of the plain ViT in a precision, and its record.

    Raises EngineError when the bundle lacks the graph or its record is damaged.
    """
    onnx = folder / file_name("plain", precision)
    described = folder / PLAIN_RECORD_NAME
    if not onnx.is_file():
        raise EngineError(f"{onnx} is missing. Export again: sacvit-export --plain, with --fp16 --int8 as before")
    metadata = read_record(described, dict[str, str], "Export again: sacvit-export --plain")
    return onnx, replace(StageRecord.from_metadata(described, metadata), precision=precision)
