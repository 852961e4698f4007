"""What stands beside an engine that was built, in `ee.plan.json`: where it was built, from what, and how it was checked.

A plan itself holds none of this, and deserialising a foreign one can end the process. So the record is read first.

An engine of TensorRT for RTX (`ee.rtx`) is built without a GPU, for several kinds of GPUs at once: each compiles its kernels
when it loads the engine. So it is bound to a version and to compute capabilities, not to one GPU, and is checked where it runs.
Source: https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/inference-library/engine-compatibility.html
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from .errors import EngineError
from .records import read_record, write_record
from .stage_record import StageRecord

PLAN_FORMAT: Literal[2] = 2
PLAIN_RECORD_NAME = "plain.json"  # the record inside plain.onnx, for programs without the onnx package
RTX_FORMAT: Literal[1] = 1
RTX_SUFFIX = ".rtx"
PLAN_NAMES = ("ee.plan", "ee.plan.json", "sac.plan", "sac.plan.json", "plain.plan", "plain.plan.json")
RTX_NAMES = tuple(name.replace(".plan", RTX_SUFFIX) for name in PLAN_NAMES)

Size = Annotated[int, msgspec.Meta(ge=0)]
T = TypeVar("T")


@dataclass(frozen=True)
class Gpu:
    """The properties of a GPU that plans are bound to. All Orins are called Orin; their numbers of multiprocessors differ."""

    name: str
    compute_capability: str  # "8.7"
    multiprocessors: Size

    def __str__(self) -> str:
        return f"{self.name} (sm_{self.compute_capability.replace('.', '')}, {self.multiprocessors} multiprocessors)"


@dataclass(frozen=True, kw_only=True)
class BuiltRecord:
    """Origin and checks of an engine that was built from a graph. `build` is for people; nothing is decided by it.

    record.precision: what the kernels compute in, which builder flags may make coarser than the ONNX file. batches: images per
    pass, of SAC survivors, rising. capacity: the most images of a pass.
    """

    record: StageRecord
    plan_sha256: str
    plan_bytes: Size
    onnx: str  # the file's name
    onnx_sha256: str
    batches: Annotated[tuple[Size, ...], msgspec.Meta(min_length=1)]
    capacity: Size
    build: dict[str, Any] = field(default_factory=dict)
    verification: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Writes the record of the engine at `path` beside it."""
        write_record(sidecar(path), self)


@dataclass(frozen=True, kw_only=True)
class PlanRecord(BuiltRecord):
    """Of a TensorRT plan, which runs on the GPU and the TensorRT that it was built by."""

    tensorrt: str
    gpu: Gpu
    format: Literal[2] = PLAN_FORMAT


@dataclass(frozen=True, kw_only=True)
class RtxRecord(BuiltRecord):
    """Of an engine of TensorRT for RTX. verification["gpu"]: on which it was checked last; absent where on none."""

    tensorrt_rtx: str
    targets: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    format: Literal[1] = RTX_FORMAT


def sidecar(path: Path) -> Path:
    """ee.plan -> ee.plan.json"""
    return path.with_name(path.name + ".json")


def build_command(path: Path) -> str:
    """The command that builds the engine at `path`."""
    return f"sacvit-build {path.parent}{' --target rtx' if path.suffix == RTX_SUFFIX else ''}"


def rebuild(path: Path) -> str:
    return f"Build it here: {build_command(path)}"


def read_plan_record(path: Path) -> PlanRecord:
    """The record of the plan at `path`. Raises EngineError when either is missing, or the record is damaged."""
    return read_built_record(path, PlanRecord)


def read_rtx_record(path: Path) -> RtxRecord:
    """The record of the engine at `path`. Raises EngineError when either is missing, or the record is damaged."""
    return read_built_record(path, RtxRecord)


def read_built_record(path: Path, kind: type[T]) -> T:
    """The record of an engine at `path`, of that kind. Raises EngineError likewise."""
    if not path.is_file():
        raise EngineError(f"{path} does not exist. {rebuild(path)}")
    beside = sidecar(path)
    if not beside.is_file():
        raise EngineError(
            f"{beside} is missing: it says which TensorRT, GPU and checkpoint {path.name} is for."
            f" Copy it along, or build again: {build_command(path)}"
        )
    return read_record(beside, kind, rebuild(path))


def require_whole(path: Path, record: BuiltRecord, content: bytes) -> None:
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


def target_of(gpu: Gpu) -> str:
    """The target that a GPU is of: "sm89" for compute capability 8.9."""
    return f"sm{gpu.compute_capability.replace('.', '')}"
