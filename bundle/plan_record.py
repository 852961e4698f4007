"""What stands beside a TensorRT plan, in `ee.plan.json`: where it was built, from what, and how it was checked.

A plan itself tells none of this, and deserialising a foreign one can end a process. So the record is read first.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from .errors import EngineError
from .files import written_whole
from .manifest import MAX_JSON_BYTES, StageRecord

PLAN_FORMAT = 1
PLAIN_RECORD_NAME = "plain.json"  # the record inside plain.onnx, for who cannot read ONNX
PLAN_NAMES = ("ee.plan", "ee.plan.json", "sac.plan", "sac.plan.json", "plain.plan", "plain.plan.json")


@dataclass(frozen=True)
class Gpu:
    """A GPU as far as plans are bound to it. All Orins are called Orin: their multiprocessors tell them apart."""

    name: str
    compute_capability: str  # "8.7"
    multiprocessors: int

    def __str__(self) -> str:
        return f"{self.name} (sm_{self.compute_capability.replace('.', '')}, {self.multiprocessors} multiprocessors)"


@dataclass(frozen=True)
class PlanRecord:
    """A plan's origin and checks. `build` and `verification` are for people; nothing is decided by them."""

    record: StageRecord
    plan_sha256: str
    plan_bytes: int
    onnx: str  # the file's name
    onnx_sha256: str
    tensorrt: str
    gpu: Gpu
    batches: tuple[int, ...]
    capacity: int
    build: dict[str, Any] = field(default_factory=dict)
    verification: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Writes the record of the plan at `path` beside it."""
        content = {"format": PLAN_FORMAT, **asdict(self), "record": self.record.to_metadata()}
        with written_whole(sidecar(path)) as partial:
            partial.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def sidecar(path: Path) -> Path:
    """ee.plan -> ee.plan.json"""
    return path.with_name(path.name + ".json")


def rebuild(path: Path) -> str:
    return f"Build it here: sacvit-build {path.parent}"


def read_plan_record(path: Path) -> PlanRecord:
    """The record of the plan at `path`. Raises EngineError when either is missing, or the record is damaged."""
    if not path.is_file():
        raise EngineError(f"{path} does not exist. {rebuild(path)}")
    beside = sidecar(path)
    if not beside.is_file():
        raise EngineError(
            f"{beside} is missing: without it nobody can tell which TensorRT, GPU and checkpoint {path.name} is for."
            f" Copy it along, or build again: sacvit-build {path.parent}"
        )
    if beside.stat().st_size > MAX_JSON_BYTES:
        raise EngineError(f"{beside} has {beside.stat().st_size} bytes; the limit is {MAX_JSON_BYTES}. {rebuild(path)}")
    try:
        content = json.loads(beside.read_text("utf-8"))
        if not isinstance(content, dict) or content.pop("format", None) != PLAN_FORMAT:
            raise ValueError(f"not a plan's record of format {PLAN_FORMAT}")
        metadata = content.pop("record")
        if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
            raise ValueError("its stage record is no table of texts")
        record = PlanRecord(
            record=StageRecord.from_metadata(beside, metadata),
            gpu=Gpu(**content.pop("gpu")),
            batches=tuple(content.pop("batches")),
            **content,
        )
        _require_types(record)
    except (KeyError, ValueError, TypeError, RecursionError) as reason:
        raise EngineError(f"{beside} is damaged: {reason}. {rebuild(path)}") from None
    return record


def _require_types(record: PlanRecord) -> None:
    gpu = record.gpu
    texts = (
        *(record.plan_sha256, record.onnx, record.onnx_sha256, record.tensorrt),
        *(gpu.name, gpu.compute_capability),
    )
    numbers = (record.plan_bytes, record.capacity, record.gpu.multiprocessors, *record.batches)
    if not all(isinstance(value, str) for value in texts):
        raise ValueError("a name or hash is no text")
    if not record.batches or not all(type(value) is int and value >= 0 for value in numbers):
        raise ValueError("a size is no number")
    if not isinstance(record.build, dict) or not isinstance(record.verification, dict):
        raise ValueError("build and verification are no tables")


def require_whole(path: Path, record: PlanRecord, content: bytes) -> None:
    """Raises EngineError unless the bytes read from `path` are those that were built."""
    size = len(content)
    if size != record.plan_bytes:
        verb = "was cut short" if size < record.plan_bytes else "has grown"
        raise EngineError(f"{path} {verb}: {size} bytes, {record.plan_bytes} were built. {rebuild(path)}")
    if hashlib.sha256(content).hexdigest() != record.plan_sha256:
        raise EngineError(
            f"{path} is not the file that {sidecar(path).name} describes: its hash differs. {rebuild(path)}"
        )


def require_place(path: Path, record: PlanRecord, tensorrt: str, gpu: Gpu) -> None:
    """Raises EngineError unless the plan was built by this TensorRT on this kind of GPU."""
    if record.tensorrt != tensorrt or record.gpu != gpu:
        mode = record.build.get("power_mode")
        is_mode = mode and replace(gpu, multiprocessors=0) == replace(record.gpu, multiprocessors=0)
        hint = f" Power modes turn multiprocessors off; it was built in {mode}." if is_mode else ""
        raise EngineError(
            f"{path} was built by TensorRT {record.tensorrt} on {record.gpu}; this machine has {tensorrt} on {gpu}."
            f"{hint} {rebuild(path)}"
        )
