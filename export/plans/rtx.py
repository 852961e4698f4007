"""Engines of TensorRT for RTX: built for GPUs that need not be here, and checked where one of them is.

Compute capabilities take the place of one GPU. There are no times of kernels and no precision flags. Without a GPU the first
fallback that builds is kept, unchecked; `sacvit-build DIR --target rtx` on the machine that runs it checks it there.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ...bundle.errors import DeviceError, EngineError, GuardError, UsageError
from ...bundle.manifest import Manifest
from ...bundle.plan_record import RTX_SUFFIX, BuiltRecord, Gpu, RtxRecord, read_rtx_record, target_of
from ...bundle.precision import Limits
from ...bundle.stage_record import STAGES, StageRecord
from .check import run_check, say_guards
from .child import run_child
from .ladder import Features
from .request import Report
from .stages import Stage, StageBuilder, built_fields
from .verify import limits_for


@dataclass(frozen=True)
class RtxMachine:
    """Where TensorRT for RTX builds. targets: the GPUs that it knows. gpu: None where there is none, for the reason given."""

    tensorrt_rtx: str
    targets: tuple[str, ...]
    gpu: Gpu | None
    reason: str | None
    features: Features = Features(strong=True, flags=False, bf16=True)


def find_rtx_machine(work: Path) -> RtxMachine:
    """The TensorRT for RTX here, and the GPU. Raises ModuleNotFoundError without the packages."""
    found = run_child({"job": "probe rtx"}, work, lambda line: None)
    gpu = found["gpu"]
    return RtxMachine(
        found["tensorrt_rtx"], tuple(found["targets"]), None if gpu is None else Gpu(**gpu), found["reason"]
    )


def choose_targets(given: tuple[str, ...] | None, machine: RtxMachine) -> tuple[str, ...]:
    """What to build for: what was named, or the GPU of this machine.

    Raises UsageError for a name that this version does not know, DeviceError where there is no GPU that it runs on.
    """
    names = ",".join(machine.targets)
    for target in given or ():
        if target not in machine.targets:
            raise UsageError(
                f"TensorRT for RTX {machine.tensorrt_rtx} does not build for {target}. It knows: --for {names}"
            )
    if given is not None:
        return given
    if machine.gpu is None:
        raise DeviceError(f"no GPU to build for ({machine.reason}). Name those that the engines are for: --for {names}")
    if target_of(machine.gpu) not in machine.targets:
        raise DeviceError(f"TensorRT for RTX does not run on {machine.gpu}. Name other GPUs: --for {names}")
    return (target_of(machine.gpu),)


def fits(engines: tuple[Path, Path], manifest: Manifest, machine: RtxMachine) -> bool:
    """Whether engines are there that were built from this bundle, by this version, for this machine's GPU."""
    try:
        records = [read_rtx_record(path) for path in engines]
    except EngineError:  # missing or damaged: they are built again
        return False
    return machine.gpu is not None and all(
        record.tensorrt_rtx == machine.tensorrt_rtx
        and target_of(machine.gpu) in record.targets
        and record.onnx in manifest.files
        and record.onnx_sha256 == manifest.files[record.onnx].sha256
        for record in records
    )


def check_rtx(
    folder: Path, engines: tuple[Path, Path], manifest: Manifest, machine: RtxMachine, work: Path, report: Report
) -> None:
    """Checks engines on this machine's GPU, and writes into their records that they passed. Raises GuardError otherwise."""
    behind = []
    for stage, path in zip(STAGES, engines, strict=True):
        record = read_rtx_record(path)
        behind.append(record.record.precision)
        verdict = run_check(folder, manifest, stage, engines[0], path, limits_for(behind, manifest), work, report)
        if not verdict["holds"]:
            say_guards(verdict, report)
            raise GuardError(
                f"{path} does not reproduce the reference answers on {machine.gpu}. Build it here, where every fallback is"
                f" checked: sacvit-build {folder} --target rtx --for {','.join(record.targets)}"
            )
        report(f"{path.name}: passes its check on {machine.gpu}")
        replace(record, verification=verified(machine, [*record.verification.get("tried", ()), verdict])).write(path)


def verified(machine: RtxMachine, tried: list[dict[str, Any]]) -> dict[str, Any]:
    """What a record says of the checks on this machine's GPU."""
    return {"tried": tried, "gpu": str(machine.gpu)}


class RtxBuilder(StageBuilder):
    """The stages of one bundle as engines of TensorRT for RTX."""

    suffix = RTX_SUFFIX
    machine: RtxMachine

    @property
    def is_checked(self) -> bool:
        """Whether this machine's GPU is one of the targets."""
        return self.machine.gpu is not None and target_of(self.machine.gpu) in (self.request.targets or ())

    def _open_options(self) -> dict[str, Any]:
        targets = self.request.targets
        assert targets is not None
        self.report(f"TensorRT for RTX {self.machine.tensorrt_rtx}, for {', '.join(targets)}")
        if not self.is_checked:
            here = "has no GPU" if self.machine.gpu is None else f"has {self.machine.gpu}"
            self.report(
                f"this machine {here}, so nothing is checked against the reference answers. On the machine that runs the"
                f" engines: sacvit-build DIR --target rtx"
            )
        return {"timing_cache": None, "targets": targets}

    def _compares_typings(self) -> bool:
        return False

    def _check(self, stage: Stage, limits: Limits, plan: Path) -> dict[str, Any] | None:
        return super()._check(stage, limits, plan) if self.is_checked else None

    def _verified(self, tried: list[dict[str, Any]]) -> dict[str, Any]:
        return verified(self.machine, tried) if self.is_checked else {"tried": tried}

    def _record_of(
        self, record: StageRecord, plan: Path, onnx: Path, batches: tuple[int, ...], built: dict[str, Any]
    ) -> BuiltRecord:
        machine, targets = self.machine, self.request.targets
        assert targets is not None
        return RtxRecord(
            **built_fields(record, plan, onnx, batches),
            tensorrt_rtx=machine.tensorrt_rtx,
            targets=targets,
            build={**built, "built_on": None if machine.gpu is None else asdict(machine.gpu)},
        )
