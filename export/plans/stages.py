"""Each stage of a bundle as a plan: built and checked fallback by fallback, until one reproduces the reference answers."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ...bundle.errors import DeviceError, EngineError, GuardError, SacvitError
from ...bundle.files import cache_folder, require_folder, sha256_of
from ...bundle.goldens import GOLDENS_NAME
from ...bundle.manifest import Manifest, require_exported
from ...bundle.plan_record import Gpu, PlanRecord
from ...bundle.precision import Limits, Precision
from ...machine.jetson import board_model, l4t_release, power_mode
from .child import run_child
from .ladder import Features, Rung, compares_typings, load_table
from .plain import build_plain_plan
from .request import BuildRequest
from .trt_builder import PlanError, places_of
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
    record: PlanRecord
    latency_ms: dict[str, float]
    logit_error: float
    tried: list[dict[str, Any]] = field(default_factory=list)


class StageBuilder:
    """The stages of one bundle, rung by rung."""

    def __init__(self, bundle: Path, manifest: Manifest, machine: Machine, work: Path, request: BuildRequest) -> None:
        """request: with batches and workspace_mib filled in."""
        self.folder, self.manifest, self.machine, self.work, self.request = bundle, manifest, machine, work, request
        self.report = request.report
        self.timing_cache = request.timing_cache or default_timing_cache(machine)
        self.behind: list[Precision] = []  # what the stages before compute in
        require_folder(self.timing_cache.parent, "--timing-cache")

    def settle(self, stage: Stage, rungs: list[Rung]) -> Outcome:
        """The first rung whose plan passes its check; of the two typings the faster one where both are to be compared."""
        tried: list[dict[str, Any]] = []
        first = 1
        if (
            compares_typings(self.machine.tensorrt, load_table())
            and len(rungs) > 1
            and [rung.typing for rung in rungs[:2]] == ["strong", "weak"]
        ):
            first = 2
        held = [outcome for rung in rungs[:first] if (outcome := self._try(stage, rung, tried))]
        for rung in rungs[first:]:
            if held:
                break
            held = [outcome for outcome in [self._try(stage, rung, tried)] if outcome]
        if not held:
            self._give_up(stage, tried)
        best = min(held, key=lambda outcome: list(outcome.latency_ms.values())[-1])
        best.tried = tried
        final = self.work / best.plan.name
        os.replace(best.plan, final)
        replace(best.record, verification={"tried": tried}).write(final)
        best.plan = final
        self.behind.append(best.rung.computes_in)
        return best

    def _try(self, stage: Stage, rung: Rung, tried: list[dict[str, Any]]) -> Outcome | None:
        """Builds and checks one plan; None when either fails."""
        name = f"{stage.lower()}.plan"
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
        tried.append({"rung": rung.name, "built": True, **verdict})
        error = max(
            (guard["value"] for guard in verdict["guards"] if guard["name"].startswith("mean logit error")),
            default=float("nan"),
        )
        ms = ", ".join(f"{value:g} ms for {size}" for size, value in verdict["latency_ms"].items())
        seconds = time.monotonic() - began
        outcome = "passes its check" if verdict["holds"] else "FAILS its check"
        self.report(f"{name}: {rung.name}: {outcome}, mean logit error {error:.2g}; {ms}; built in {seconds:.0f} s")
        for guard in verdict["guards"]:
            if not guard["holds"]:
                sign = ">=" if guard["at_least"] else "<="
                self.report(f"  {guard['name']}: {guard['value']:.4f}, wanted {sign} {guard['limit']:g}")
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
                "timing_cache": str(self.timing_cache),
                "plan": str(plan),
            },
            self.work,
            self.report,
        )

    def build_plain(self, rung: Rung) -> None:
        """The plain ViT by EE's way, whose boundary is a part of EE's. A failure costs the pair nothing: it is reported."""
        try:
            plan = build_plain_plan(
                self.folder,
                rung.precision,
                self.request.sizes,
                self.machine.tensorrt,
                self.machine.gpu,
                self.work,
                lambda onnx, plan: self._build(onnx, "EE", rung, plan),
            )
        except SacvitError as fault:
            for left in (self.work / "plain.plan", self.work / "plain.plan.json"):
                left.unlink(missing_ok=True)
            self.report(f"warning: no plain.plan, so sacvit-profile has nothing to compare with: {fault}")
            return
        self.report(f"{plan.name}: {rung.name}, as EE; it has no reference answers to be checked against")

    def _check(self, stage: Stage, limits: Limits, plan: Path) -> dict[str, Any]:
        return run_child(
            {
                "job": "verify",
                "folder": str(self.folder),
                "ee": str(plan if stage == "EE" else self.work / "ee.plan"),
                "sac": None if stage == "EE" else str(plan),
                "threshold": self.manifest.threshold.value,
                "limits": asdict(limits),
            },
            self.work,
            self.report,
        )

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

    def _record(self, stage: Stage, rung: Rung, plan: Path, onnx: Path, built: dict[str, Any]) -> PlanRecord:
        machine = self.machine
        return PlanRecord(
            # What its kernels compute in: flags may have made it coarser than the file that it was built from.
            record=replace(self.manifest.record(onnx.name), precision=rung.computes_in),
            plan_sha256=sha256_of(plan),
            plan_bytes=plan.stat().st_size,
            onnx=onnx.name,
            onnx_sha256=self.manifest.files[onnx.name].sha256,
            tensorrt=machine.tensorrt,
            gpu=machine.gpu,
            batches=places_of(stage, self.request.sizes),
            capacity=self.request.sizes[-1],
            build={
                **built,
                "cuda_driver": machine.cuda_driver,
                "board": board_model(),
                "l4t": l4t_release(),
                "power_mode": power_mode(),
            },
        )

    def _give_up(self, stage: Stage, tried: list[dict[str, Any]]) -> None:
        names = "; ".join(f"{entry['rung']}: {entry.get('reason', 'fails its check')}" for entry in tried)
        if not any(entry["built"] for entry in tried):
            raise PlanError(f"no plan of {stage} could be built. {names}")
        raise GuardError(
            f"no plan of {stage} reproduces the reference answers in {self.folder / GOLDENS_NAME}, not even in FP32. {names}."
            f" No plan was written. Another TensorRT may do better: docs/tensorrt.md lists known faults"
        )


def default_timing_cache(machine: Machine) -> Path:
    """One for each TensorRT and GPU."""
    name = "".join(letter if letter.isalnum() or letter in ".-" else "-" for letter in f"{machine.gpu.name}")
    return cache_folder("tensorrt") / f"{machine.tensorrt}-{name}-{machine.gpu.multiprocessors}.timing"
