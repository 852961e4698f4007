"""Each stage of a bundle as a plan: built and checked fallback by fallback, until one reproduces the reference answers."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ...bundle.errors import DeviceError, EngineError, GuardError, PlanError, SacvitError
from ...bundle.files import cache_folder, require_folder, sha256_of
from ...bundle.goldens import GOLDENS_NAME
from ...bundle.manifest import Manifest, require_exported
from ...bundle.plan_record import BuiltRecord, Gpu, PlanRecord, sidecar
from ...bundle.precision import Limits, Precision
from ...bundle.stage_record import StageRecord
from ...machine.jetson import board_model, l4t_release, power_mode
from .check import run_check, say_guards
from .child import run_child
from .ladder import Features, Rung, compares_typings, load_table
from .plain import plain_source
from .request import BuildRequest
from .trt_builder import places_of
from .verify import limits_for

Stage = Literal["EE", "SAC"]


@dataclass(frozen=True)
class Machine:
    """Where the plans are built."""

    tensorrt: str
    gpu: Gpu
    features: Features
    cuda_driver: int
    free_mib: int
    total_mib: int
    integrated: bool


@dataclass
class Outcome:
    """A stage's plan, as it was kept. `tried`: every rung that was built or refused before or beside it."""

    stage: Stage
    rung: Rung
    plan: Path
    record: BuiltRecord
    latency_ms: dict[str, float]
    logit_error: float
    tried: list[dict[str, Any]] = field(default_factory=list)


class StageBuilder:
    """The stages of one bundle as TensorRT plans, fallback by fallback. rtx.py has what TensorRT for RTX does differently."""

    suffix = ".plan"

    def __init__(self, bundle: Path, manifest: Manifest, machine: Any, work: Path, request: BuildRequest) -> None:
        """machine: a `Machine`, of what builds here. request: with batches and workspace_mib filled in."""
        self.folder, self.manifest, self.machine, self.work, self.request = bundle, manifest, machine, work, request
        self.report = request.report
        self.behind: list[Precision] = []  # what the stages before compute in
        self.options = self._open_options()

    def _open_options(self) -> dict[str, Any]:
        """Options of a build beside the stage: see `BuildOptions`."""
        timing_cache = self.request.timing_cache or default_timing_cache(self.machine)
        require_folder(timing_cache.parent, "--timing-cache")
        return {"timing_cache": str(timing_cache), "targets": ()}

    def _compares_typings(self) -> bool:
        return compares_typings(self.machine.tensorrt, load_table())

    def settle(self, stage: Stage, rungs: list[Rung]) -> Outcome:
        """The first rung whose plan passes its check; of the two typings the faster one where both are to be compared."""
        tried: list[dict[str, Any]] = []
        first = 1
        if self._compares_typings() and len(rungs) > 1 and [rung.typing for rung in rungs[:2]] == ["strong", "weak"]:
            first = 2
        held = [outcome for rung in rungs[:first] if (outcome := self._try(stage, rung, tried))]
        for rung in rungs[first:]:
            if held:
                break
            held = [outcome for outcome in [self._try(stage, rung, tried)] if outcome]
        if not held:
            self._give_up(stage, tried)
        best = held[0] if len(held) == 1 else min(held, key=lambda outcome: list(outcome.latency_ms.values())[-1])
        best.tried = tried
        final = self.work / best.plan.name
        os.replace(best.plan, final)
        replace(best.record, verification=self._verified(tried)).write(final)
        best.plan = final
        self.behind.append(best.rung.computes_in)
        return best

    def _verified(self, tried: list[dict[str, Any]]) -> dict[str, Any]:
        """What a record says of the checks."""
        return {"tried": tried}

    def _try(self, stage: Stage, rung: Rung, tried: list[dict[str, Any]]) -> Outcome | None:
        """Builds and checks one plan; None when either fails."""
        name = f"{stage.lower()}{self.suffix}"
        place = self.work / f"rung{len(tried)}"
        place.mkdir(exist_ok=True)
        plan = place / name
        began = time.monotonic()
        onnx = self._source(stage, rung)
        self.manifest.record(onnx.name)  # what the manifest lacks is reported before minutes of building
        limits = limits_for([*self.behind, rung.computes_in], self.manifest)
        try:
            built = self._build(onnx, stage, rung, plan)
        except PlanError as fault:
            tried.append({"rung": rung.name, "built": False, "reason": str(fault)})
            self.report(f"{name}: {rung.name}: {fault}")
            return None
        record = self._record(stage, rung, plan, onnx, built)
        record.write(plan)
        try:
            verdict = self._check(stage, limits, plan)
        except (PlanError, EngineError, DeviceError) as fault:  # a kernel that breaks the GPU's memory shows here
            tried.append({"rung": rung.name, "built": True, "holds": False, "reason": str(fault)})
            self.report(f"{name}: {rung.name}: breaks in its check: {fault}")
            return None
        if verdict is None:
            tried.append({"rung": rung.name, "built": True})
            self.report(f"{name}: {rung.name}: built in {time.monotonic() - began:.0f} s, not checked")
            return Outcome(stage, rung, plan, record, {}, float("nan"))
        tried.append({"rung": rung.name, "built": True, **verdict})
        error = max(
            (guard["value"] for guard in verdict["guards"] if guard["name"].startswith("mean logit error")),
            default=float("nan"),
        )
        ms = ", ".join(f"{value:g} ms for {size}" for size, value in verdict["latency_ms"].items())
        seconds = time.monotonic() - began
        outcome = "passes its check" if verdict["holds"] else "FAILS its check"
        self.report(f"{name}: {rung.name}: {outcome}, mean logit error {error:.2g}; {ms}; built in {seconds:.0f} s")
        say_guards(verdict, self.report)
        return Outcome(stage, rung, plan, record, verdict["latency_ms"], error) if verdict["holds"] else None

    def _build(self, onnx: Path, stage: Stage, rung: Rung, plan: Path) -> dict[str, Any]:
        return run_child(
            {
                "job": "build",
                "onnx": str(onnx),
                "stage": stage,
                "rung": asdict(rung),
                "batches": self.request.batches,
                "workspace_mib": self.request.workspace_mib,
                "level": self.request.builder_optimization_level,
                **self.options,
                "plan": str(plan),
            },
            self.work,
            self.report,
        )

    def build_plain(self, rung: Rung) -> None:
        """The plain ViT by EE's way, whose boundary is a part of EE's. A failure costs the pair nothing: it is reported."""
        plan = self.work / f"plain{self.suffix}"
        try:
            onnx, described = plain_source(self.folder, rung.precision)
            built = self._build(onnx, "EE", rung, plan)
            self._record_of(described, plan, onnx, self.request.sizes, built).write(plan)
        except SacvitError as fault:
            for left in (plan, sidecar(plan)):
                left.unlink(missing_ok=True)
            self.report(f"warning: no {plan.name}, so sacvit-profile has nothing to compare with: {fault}")
            return
        self.report(f"{plan.name}: {rung.name}, as EE; it has no reference answers to be checked against")

    def _check(self, stage: Stage, limits: Limits, plan: Path) -> dict[str, Any] | None:
        """What `Verdict` says of the plan; None where it cannot be run here."""
        ee = plan if stage == "EE" else self.work / f"ee{self.suffix}"
        return run_check(self.folder, self.manifest, stage, ee, plan, limits, self.work, self.report)

    def _source(self, stage: Stage, rung: Rung) -> Path:
        """The ONNX file of a rung. Raises EngineError when it is not the one that was exported."""
        for name, file in self.manifest.files.items():
            if (file.stage, file.precision) == (stage, rung.precision):
                path = self.folder / Path(name).name
                if not path.is_file():
                    raise EngineError(f"{path} is missing. Copy the whole bundle, or export again: sacvit-export")
                require_exported(path)
                return path
        raise EngineError(f"{self.folder} has no {rung.precision} graph of {stage}. Export again: sacvit-export")

    def _record(self, stage: Stage, rung: Rung, plan: Path, onnx: Path, built: dict[str, Any]) -> BuiltRecord:
        # What its kernels compute in: flags may have made it coarser than the file that it was built from.
        record = replace(self.manifest.record(onnx.name), precision=rung.computes_in)
        return self._record_of(record, plan, onnx, places_of(stage, self.request.sizes), built)

    def _record_of(
        self, record: StageRecord, plan: Path, onnx: Path, batches: tuple[int, ...], built: dict[str, Any]
    ) -> BuiltRecord:
        machine = self.machine
        conditions = {"board": board_model(), "l4t": l4t_release(), "power_mode": power_mode()}
        return PlanRecord(
            **built_fields(record, plan, onnx, batches),
            tensorrt=machine.tensorrt,
            gpu=machine.gpu,
            build={**built, "cuda_driver": machine.cuda_driver, **conditions},
        )

    def _give_up(self, stage: Stage, tried: list[dict[str, Any]]) -> None:
        names = "; ".join(f"{entry['rung']}: {entry.get('reason', 'fails its check')}" for entry in tried)
        if not any(entry["built"] for entry in tried):
            raise PlanError(f"no plan of {stage} could be built. {names}")
        last = "" if self.request.is_alone else ", not even in FP32"
        raise GuardError(
            f"no plan of {stage} reproduces the reference answers in {self.folder / GOLDENS_NAME}{last}. {names}."
            f" No plan was written. Another TensorRT may do better: docs/tensorrt.md lists known faults"
        )


def built_fields(record: StageRecord, plan: Path, onnx: Path, batches: tuple[int, ...]) -> dict[str, Any]:
    """The fields of a `BuiltRecord` that every library fills alike."""
    return {
        "record": record,
        "plan_sha256": sha256_of(plan),
        "plan_bytes": plan.stat().st_size,
        "onnx": onnx.name,
        "onnx_sha256": sha256_of(onnx),
        "batches": batches,
        "capacity": batches[-1],
    }


def default_timing_cache(machine: Machine) -> Path:
    """One for each TensorRT and GPU."""
    name = "".join(letter if letter.isalnum() or letter in ".-" else "-" for letter in f"{machine.gpu.name}")
    return cache_folder("tensorrt") / f"{machine.tensorrt}-{name}-{machine.gpu.multiprocessors}.timing"
