"""A bundle becomes plans on the device that will run them: built, checked, and replaced all at once.

Every build and every check is a process of its own, so that a small board never holds two of TensorRT's workspaces, and a
TensorRT that dies leaves a message instead of half a bundle.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ...bundle import errors
from ...bundle.errors import DeviceError, EngineError, GuardError, SacvitError, UsageError
from ...bundle.files import cache_folder, sha256_of
from ...bundle.folders import locked_folder, replaced_files
from ...bundle.goldens import read_goldens
from ...bundle.manifest import Precision, read_manifest, record_from_manifest
from ...bundle.plan_record import PLAN_NAMES, Gpu, PlanRecord
from ...calibration.guards import Limits
from ...machine.jetson import available_memory_mib, board_model, l4t_release, power_mode
from .ladder import Features, Rung, Wanted, compares_typings, ladder, load_table
from .plain import build_plain_plan, has_plain
from .trt_builder import MIB, PlanError, places_of
from .verify import limits_for

Report = Callable[[str], None]
Stage = Literal["EE", "SAC"]
STAGES: tuple[Stage, Stage] = ("EE", "SAC")
LARGEST_WORKSPACE_MIB = 1024  # a ViT needs a tenth of it; TensorRT's own default is all the memory there is
MOST_BATCH = 256
HEARTBEAT_S = 30.0
WEIGHT_COPIES = (
    4  # of the ONNX file that a build holds at its worst, measured by nobody: a warning hangs on it, no more
)


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


@dataclass(frozen=True)
class Plans:
    """What a build wrote."""

    ee: Path
    sac: Path
    outcomes: list[Outcome]
    machine: Machine
    duration_s: float


def build(
    folder: str | Path,
    out: str | Path | None = None,
    *,
    wanted: Wanted | None = None,
    batches: tuple[int, ...] | None = None,
    workspace_mib: int | None = None,
    level: int | None = None,
    timing_cache: Path | None = None,
    report: Report = lambda line: None,
) -> Plans:
    """Builds ee.plan and sac.plan from a bundle's graphs, and checks them against its goldens.

    wanted: the precision; None takes the lowest that was exported. batches: images a pass; None is 1, or the number that
    the graphs are fixed to. workspace_mib: TensorRT's scratch while building; None is a quarter of the free memory, at
    most 1024. level: TensorRT's builder optimization level. Raises GuardError when no way of building passes its check;
    then, and on any other error, `out` is as it was.
    """
    began = time.monotonic()
    source = Path(folder)
    manifest = read_manifest(source)
    exported = exported_precisions(manifest)
    kind = choose_precision(wanted, exported)
    read_goldens(source)
    sizes = choose_batches(batches, manifest.get("batch"))
    if level is not None and not 0 <= level <= 5:
        raise UsageError(f"--builder-optimization-level must lie in 0 .. 5, found {level}")
    if workspace_mib is not None and workspace_mib < 1:
        raise UsageError(f"--workspace-mib must be at least 1, found {workspace_mib}")
    with locked_folder(Path(out or source)) as home, replaced_files(home, PLAN_NAMES) as work:
        machine = find_machine(work)
        # CUDA's free memory of an integrated GPU leaves out what Linux would give back: its file cache.
        free_mib = (available_memory_mib() if machine.integrated else None) or machine.free_mib
        cap = workspace_mib or max(64, min(LARGEST_WORKSPACE_MIB, free_mib // 4))
        preflight(manifest, machine, free_mib, cap, report)
        builder = _Builder(source, manifest, machine, work, sizes, cap, level, timing_cache, report)
        rungs = ladder(kind, machine.features, exported)
        outcomes = [builder.settle(stage, rungs) for stage in STAGES]
        if has_plain(source):
            builder.build_plain(outcomes[0].rung)
        for child in work.iterdir():
            if child.name not in PLAN_NAMES:
                shutil.rmtree(child) if child.is_dir() else child.unlink()
    home = Path(out or source)
    return Plans(home / "ee.plan", home / "sac.plan", outcomes, machine, time.monotonic() - began)


def exported_precisions(manifest: dict[str, Any]) -> list[Precision]:
    """The precisions of which the bundle has both graphs. Raises EngineError when the manifest does not tell."""
    try:
        files = manifest["files"].values()
        found = [(entry["precision"], entry["stage"]) for entry in files]
        fits = all(type(entry["bytes"]) is int and isinstance(entry["sha256"], str) for entry in files)
        fits &= isinstance(manifest.get("variants", {}), dict) and isinstance(manifest.get("batch"), int | None)
        fits &= isinstance(manifest["threshold"]["value"], int | float)
    except (KeyError, TypeError, AttributeError) as reason:
        raise EngineError(f"the bundle's manifest is damaged: {reason!r}. Export again: sacvit-export") from None
    if not fits:
        raise EngineError("the bundle's manifest is damaged: an entry is of another type. Export again: sacvit-export")
    known: tuple[Precision, ...] = ("fp32", "int8", "fp16", "int8fp16")
    return [kind for kind in known if {"EE", "SAC"} <= {stage for precision, stage in found if precision == kind}]


def choose_precision(wanted: Wanted | None, exported: list[Precision]) -> Wanted:
    has_int8 = "int8" in exported or "int8fp16" in exported
    if wanted is None:
        return "int8" if has_int8 else "fp16" if "fp16" in exported else "fp32"
    if wanted == "int8" and not has_int8:
        raise UsageError(
            "--precision int8: the bundle has no INT8 graphs. Export them: sacvit-export --int8 --calib DIR"
        )
    if wanted == "fp16" and "fp16" not in exported:
        raise UsageError("--precision fp16: the bundle has no FP16 graphs. Export them: sacvit-export --fp16")
    return wanted


def choose_batches(given: tuple[int, ...] | None, fixed: int | None) -> tuple[int, ...]:
    """Images a pass, rising."""
    if given is None:
        return (fixed or 1,)
    sizes = tuple(sorted(set(given)))
    if not sizes or not 1 <= sizes[0] <= sizes[-1] <= MOST_BATCH:
        raise UsageError(f"--batch takes sizes in 1 .. {MOST_BATCH}, found {', '.join(map(str, given)) or 'none'}")
    if fixed is not None and sizes != (fixed,):
        raise UsageError(
            f"--batch {','.join(map(str, sizes))}: the graphs are fixed to {fixed} images a pass. Export without --batch"
        )
    return sizes


def find_machine(work: Path) -> Machine:
    """The GPU and TensorRT here. Raises DeviceError without a GPU, ModuleNotFoundError without TensorRT."""
    found = run_child({"job": "probe"}, work, lambda line: None)
    return Machine(
        tensorrt=found["tensorrt"],
        gpu=Gpu(**found["gpu"]),
        features=Features(found["strong"], found["flags"]),
        cuda_driver=found["cuda_driver"],
        free_mib=found["free_bytes"] // MIB,
        total_mib=found["total_bytes"] // MIB,
        integrated=found["integrated"],
    )


def preflight(manifest: dict[str, Any], machine: Machine, free_mib: int, workspace_mib: int, report: Report) -> None:
    """Says where the plans are built, and warns of what spoils a build or its timing."""
    board = board_model()
    parts = [f"{board}, " if board else "", f"TensorRT {machine.tensorrt} on {machine.gpu}"]
    if l4t := l4t_release():
        parts.append(f", Jetson Linux {l4t}")
    if mode := power_mode():
        parts.append(f", power mode {mode}")
    report("".join(parts))
    if mode and not mode.startswith("MAXN"):
        report(f"warning: kernels are chosen and timed in power mode {mode}; build in the mode that the plans run in")
    largest = max((entry["bytes"] for entry in manifest["files"].values()), default=0) // MIB
    needed = workspace_mib + WEIGHT_COPIES * largest
    if free_mib < needed:
        report(
            f"warning: {free_mib} MiB of memory are free, a build may want {needed}: close other programs, log out of"
            f" the desktop, add swap, or give --workspace-mib"
        )


class _Builder:
    """The stages of one bundle, rung by rung."""

    def __init__(
        self,
        folder: Path,
        manifest: dict[str, Any],
        machine: Machine,
        work: Path,
        batches: tuple[int, ...],
        workspace_mib: int,
        level: int | None,
        timing_cache: Path | None,
        report: Report,
    ) -> None:
        self.folder, self.manifest, self.machine, self.work = folder, manifest, machine, work
        self.batches, self.workspace_mib, self.level, self.report = batches, workspace_mib, level, report
        self.timing_cache = timing_cache or default_timing_cache(machine)
        self.behind: list[Precision] = []  # what the stages before compute in
        self.timing_cache.parent.mkdir(parents=True, exist_ok=True)

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
        # What the manifest lacks is told before minutes of building.
        record_from_manifest(self.folder, self.manifest, onnx.name)
        limits = limits_for([*self.behind, rung.computes_in], self.manifest)
        try:
            built = self._build(onnx, stage, rung, plan)
        except PlanError as fault:
            tried.append({"rung": rung.name, "built": False, "reason": str(fault)})
            self.report(f"{name}: {rung.name}: {fault}")
            return None
        record = self._record(stage, plan, onnx, built)
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
                "batches": self.batches,
                "workspace_mib": self.workspace_mib,
                "level": self.level,
                "timing_cache": str(self.timing_cache),
                "plan": str(plan),
            },
            self.work,
            self.report,
        )

    def build_plain(self, rung: Rung) -> None:
        """The plain ViT by EE's way, whose boundary is a part of EE's."""
        plan = build_plain_plan(
            self.folder,
            rung.precision,
            self.batches,
            self.machine.tensorrt,
            self.machine.gpu,
            self.work,
            lambda onnx, plan: self._build(onnx, "EE", rung, plan),
        )
        self.report(f"{plan.name}: {rung.name}, as EE; it has no answers to be checked against")

    def _check(self, stage: Stage, limits: Limits, plan: Path) -> dict[str, Any]:
        return run_child(
            {
                "job": "verify",
                "folder": str(self.folder),
                "ee": str(plan if stage == "EE" else self.work / "ee.plan"),
                "sac": None if stage == "EE" else str(plan),
                "threshold": self.manifest["threshold"]["value"],
                "limits": asdict(limits),
            },
            self.work,
            self.report,
        )

    def _source(self, stage: Stage, rung: Rung) -> Path:
        """The ONNX file of a rung. Raises EngineError when it is not the one that was exported."""
        for name, entry in self.manifest["files"].items():
            if (entry["stage"], entry["precision"]) == (stage, rung.precision):
                path = self.folder / Path(name).name
                if not path.is_file():
                    raise EngineError(f"{path} is missing. Copy the whole bundle, or export again: sacvit-export")
                if sha256_of(path) != entry["sha256"]:
                    raise EngineError(
                        f"{path} is not the file that {self.folder} was exported with: its hash differs. Export again"
                    )
                return path
        raise EngineError(f"{self.folder} has no {rung.precision} graph of {stage}. Export again: sacvit-export")

    def _record(self, stage: Stage, plan: Path, onnx: Path, built: dict[str, Any]) -> PlanRecord:
        machine = self.machine
        return PlanRecord(
            record=record_from_manifest(self.folder, self.manifest, onnx.name),
            plan_sha256=sha256_of(plan),
            plan_bytes=plan.stat().st_size,
            onnx=onnx.name,
            onnx_sha256=self.manifest["files"][onnx.name]["sha256"],
            tensorrt=machine.tensorrt,
            gpu=machine.gpu,
            batches=places_of(stage, self.batches),
            capacity=self.batches[-1],
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
            f"no plan of {stage} decides as the goldens of {self.folder} do, not even in FP32. {names}. Nothing was"
            f" written. Another TensorRT may do better: docs/tensorrt.md lists known faults"
        )


def default_timing_cache(machine: Machine) -> Path:
    """One for each TensorRT and GPU."""
    name = "".join(letter if letter.isalnum() or letter in ".-" else "-" for letter in f"{machine.gpu.name}")
    return cache_folder("tensorrt") / f"{machine.tensorrt}-{name}-{machine.gpu.multiprocessors}.timing"


def run_child(spec: dict[str, Any], work: Path, report: Report) -> dict[str, Any]:
    """Does one job in a process of its own, and returns what it says; its errors are raised here."""
    asked, answered = work / "job.json", work / "result.json"
    asked.write_text(json.dumps(spec), "utf-8")
    answered.unlink(missing_ok=True)
    # Not -m, which would put the current folder, and whatever lies there, before the library's own path.
    code = "import sys; sys.path[:1] = []; from sacvit.export.plans.worker import main; main(*sys.argv[1:])"
    process = subprocess.Popen(  # noqa: S603  # our own interpreter and our own code
        [sys.executable, "-c", code, str(asked), str(answered)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    began = time.monotonic()
    try:
        while True:
            try:
                status = process.wait(HEARTBEAT_S)
                break
            except subprocess.TimeoutExpired:
                if not sys.stderr.isatty():
                    report(f"  {spec['job']}: {time.monotonic() - began:.0f} s so far")
    except BaseException:
        process.kill()
        process.wait()
        raise
    if not answered.is_file():
        raise _death(spec, status)
    result: dict[str, Any] = json.loads(answered.read_text("utf-8"))
    if "done" in result:
        done: dict[str, Any] = result["done"]
        return done
    if result["fault"] == "ModuleNotFoundError":
        raise ModuleNotFoundError(result["text"], name=result["name"])
    raise _error_class(result["fault"])(result["text"])


def _error_class(name: str) -> type[SacvitError]:
    found = PlanError if name == "PlanError" else getattr(errors, name, None)
    return found if isinstance(found, type) and issubclass(found, SacvitError) else SacvitError


def _death(spec: dict[str, Any], status: int) -> SacvitError:
    """Of a child that left no answer. Python's own traceback stands above on stderr, if it was Python."""
    what = f"the process that was to {spec['job']} {Path(spec.get('plan') or spec.get('ee') or 'the machine').name}"
    if status == -signal.SIGKILL:
        return PlanError(f"{what} was killed: memory ran out, most likely. Close other programs, or add swap")
    if status < 0:
        return PlanError(f"{what} died of {signal.Signals(-status).name} inside TensorRT or the driver; see dmesg")
    return PlanError(f"{what} ended with status {status}")
