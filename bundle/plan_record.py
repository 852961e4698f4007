"""What stands beside a TensorRT plan, in `ee.plan.json`: where it was built, from what, and how it was checked.

A plan itself tells none of this, and deserialising a foreign one can end a process. So the record is read first.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from .errors import EngineError
from .records import read_record, write_record
from .stage_record import StageRecord

PLAN_FORMAT: Literal[2] = 2
PLAIN_RECORD_NAME = "plain.json"  # the record inside plain.onnx, for programs without the onnx package
PLAN_NAMES = ("ee.plan", "ee.plan.json", "sac.plan", "sac.plan.json", "plain.plan", "plain.plan.json")

Size = Annotated[int, msgspec.Meta(ge=0)]


@dataclass(frozen=True)
class Gpu:
    """A GPU as far as plans are bound to it. All Orins are called Orin: their multiprocessors tell them apart."""

    name: str
    compute_capability: str  # "8.7"
    multiprocessors: Size

    def __str__(self) -> str:
        return f"{self.name} (sm_{self.compute_capability.replace('.', '')}, {self.multiprocessors} multiprocessors)"


@dataclass(frozen=True)
class PlanRecord:
    """A plan's origin and checks. `build` and `verification` are for people; nothing is decided by them.

    record.precision: what the kernels compute in, which builder flags may make coarser than the ONNX file.
    """

    record: StageRecord
    plan_sha256: str
    plan_bytes: Size
    onnx: str  # the file's name
    onnx_sha256: str
    tensorrt: str
    gpu: Gpu
    batches: Annotated[tuple[Size, ...], msgspec.Meta(min_length=1)]
    capacity: Size
    build: dict[str, Any] = field(default_factory=dict)
    verification: dict[str, Any] = field(default_factory=dict)
    format: Literal[2] = PLAN_FORMAT

    def write(self, path: Path) -> None:
        """Writes the record of the plan at `path` beside it."""
        write_record(sidecar(path), self)


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
            f"{beside} is missing: it says which TensorRT, GPU and checkpoint {path.name} is for."
            f" Copy it along, or build again: sacvit-build {path.parent}"
        )
    return read_record(beside, PlanRecord, rebuild(path))


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
