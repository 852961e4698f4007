"""A bundle becomes engines: built, checked, and replaced all at once. TensorRT builds on the device that will run them.

Every build and every check is a process of its own, so that a small board never holds two of TensorRT's workspaces, and a
TensorRT that dies leaves a message instead of half a bundle.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from ...bundle.errors import EngineError, UsageError
from ...bundle.folders import WORK_PREFIX, locked_folder, replaced_files
from ...bundle.goldens import read_goldens
from ...bundle.manifest import MANIFEST_NAME, Manifest, read_manifest
from ...bundle.plan_record import PLAN_NAMES, RTX_NAMES, Gpu
from ...bundle.precision import PRECISIONS, Family, Precision
from ...bundle.stage_record import STAGES
from ...machine.jetson import available_memory_mib, board_model, l4t_release, power_mode
from ...runtime.engines.choice import CHOICE_NAME
from ...runtime.engines.given_paths import no_bundle
from .child import run_child
from .ladder import Features, Rung, ladder
from .plain import has_plain
from .request import BuildRequest, Report
from .rtx import RtxBuilder, RtxMachine, check_rtx, choose_targets, find_rtx_machine, fits
from .stages import Machine, Outcome, StageBuilder
from .trt_builder import MIB

LARGEST_WORKSPACE_MIB = 1024  # a ViT needs a tenth of it; TensorRT's own default is all the memory there is
# Copies of the ONNX file that a build holds at its peak. An assumption that was not measured: only a warning depends on it.
WEIGHT_COPIES = 4


@dataclass(frozen=True)
class Plans:
    """What a build wrote. outcomes: empty where engines that were there have been checked and nothing was built."""

    ee: Path
    sac: Path
    outcomes: list[Outcome]
    machine: Machine | RtxMachine
    duration_s: float


def build(folder: str | Path, out: str | Path | None = None, request: BuildRequest | None = None) -> Plans:
    """Builds the engines of both stages from a bundle's graphs, and checks them against its reference answers.

    out: the folder of the engines; None is the bundle's own. A choice that was made there among other engines is removed.
    Raises GuardError when no way of building passes its check; then, and on any other error, `out` is as it was.
    """
    began = time.monotonic()
    source, request = Path(folder), request or BuildRequest()
    if not (source / MANIFEST_NAME).is_file():
        raise EngineError(no_bundle(source))
    request.require_sound()
    manifest = read_manifest(source)
    exported = manifest.precisions()
    family = choose_precision(request.family, exported)
    read_goldens(source)
    request = replace(request, batches=choose_batches(request.batches, manifest.batch))
    home = Path(out or source)
    if request.library == "rtx":
        return _build_rtx(source, home, manifest, family, request, began)
    with locked_folder(home) as home, replaced_files(home, (*PLAN_NAMES, CHOICE_NAME)) as work:
        machine = find_machine(work)
        # CUDA's free memory of an integrated GPU leaves out what Linux would give back: its file cache.
        free_mib = (available_memory_mib() if machine.integrated else None) or machine.free_mib
        workspace_mib = request.workspace_mib or max(64, min(LARGEST_WORKSPACE_MIB, free_mib // 4))
        request = replace(request, workspace_mib=workspace_mib)
        preflight(manifest, machine, free_mib, workspace_mib, request.report)
        builder = StageBuilder(source, manifest, machine, work, request)
        outcomes = _build_all(builder, ladder(family, machine.features, exported, request.is_alone), PLAN_NAMES)
    return Plans(home / "ee.plan", home / "sac.plan", outcomes, machine, time.monotonic() - began)


def _build_all(builder: StageBuilder, rungs: list[Rung], names: tuple[str, ...]) -> list[Outcome]:
    """Both stages, and the plain ViT where the bundle has it. Only files of those names are left in the working folder."""
    outcomes = [builder.settle(stage, rungs) for stage in STAGES]
    if has_plain(builder.folder):
        builder.build_plain(outcomes[0].rung)
    for child in builder.work.iterdir():
        if child.name not in names:
            shutil.rmtree(child) if child.is_dir() else child.unlink()
    return outcomes


def _build_rtx(
    source: Path, home: Path, manifest: Manifest, family: Family, request: BuildRequest, began: float
) -> Plans:
    """With TensorRT for RTX: builds for the targets, or checks the engines that are there on this machine's GPU."""
    with locked_folder(home):
        engines = home / "ee.rtx", home / "sac.rtx"
        with tempfile.TemporaryDirectory(prefix=WORK_PREFIX, dir=home) as scratch:
            machine = find_rtx_machine(Path(scratch))
            if request.targets is None and fits(engines, manifest, machine):
                check_rtx(source, engines, manifest, machine, Path(scratch), request.report)
                return Plans(*engines, [], machine, time.monotonic() - began)
        request = replace(request, targets=choose_targets(request.targets, machine))
        with replaced_files(home, (*RTX_NAMES, CHOICE_NAME)) as work:
            builder = RtxBuilder(source, manifest, machine, work, request)
            outcomes = _build_all(
                builder, ladder(family, machine.features, manifest.precisions(), request.is_alone), RTX_NAMES
            )
    return Plans(*engines, outcomes, machine, time.monotonic() - began)


def choose_precision(wanted: Family | None, exported: list[Precision]) -> Family:
    """What to build: what was asked for, or the coarsest family that was exported. Raises UsageError for one that was not."""
    has = [row.family for row in PRECISIONS if row.name in exported]
    if wanted is None:
        return has[-1]
    if wanted not in has:
        raise UsageError(
            f"--precision {wanted}: the bundle has no {wanted.upper()} graphs. Export them: sacvit-export --{wanted}"
        )
    return wanted


def choose_batches(given: tuple[int, ...] | None, fixed: int | None) -> tuple[int, ...]:
    """Images per pass, rising. Raises UsageError for others than the graphs are fixed to."""
    if given is None:
        return (fixed or 1,)
    sizes = tuple(sorted(set(given)))
    if fixed is not None and sizes != (fixed,):
        raise UsageError(
            f"--batch {','.join(map(str, sizes))}: the graphs are fixed to {fixed} images per pass. Export without --batch"
        )
    return sizes


def find_machine(work: Path) -> Machine:
    """The GPU and TensorRT here. Raises DeviceError without a GPU, ModuleNotFoundError without TensorRT."""
    found = run_child({"job": "probe"}, work, lambda line: None)
    return Machine(
        tensorrt=found["tensorrt"],
        gpu=Gpu(**found["gpu"]),
        features=Features(found["strong"], found["flags"], found["bf16"]),
        cuda_driver=found["cuda_driver"],
        free_mib=found["free_bytes"] // MIB,
        total_mib=found["total_bytes"] // MIB,
        integrated=found["integrated"],
    )


def preflight(manifest: Manifest, machine: Machine, free_mib: int, workspace_mib: int, report: Report) -> None:
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
    largest = max((file.bytes for file in manifest.files.values()), default=0) // MIB
    needed = workspace_mib + WEIGHT_COPIES * largest
    if free_mib < needed:
        report(
            f"warning: {free_mib} MiB of memory are free, a build may want {needed}: close other programs, log out of"
            f" the desktop, add swap, or give --workspace-mib"
        )
