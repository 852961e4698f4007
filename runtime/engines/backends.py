"""The table of backends: which one runs an engine file, by its suffix. docs/extending.md shows how to add one.

Nothing heavy is imported here: what a backend needs is loaded when one of its files is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ...bundle.errors import EngineError, UsageError
from ...bundle.folders import require_placed
from .given_paths import no_engine
from .options import PROVIDERS, BackendName, EngineOptions, Provider

if TYPE_CHECKING:
    from ...bundle.stage_record import StageRecord
    from .stage import Stage


@dataclass(frozen=True)
class Backend:
    """One row of the table.

    open: loads a file; raises EngineError for one that is no engine of ours, ModuleNotFoundError where the package is missing.
    read_record: what a file says of itself, on machines that cannot run it too.
    needs_gpu: its files run on a GPU only.
    key: what sacvit-build --only and the table of providers call it; "" for a backend that sacvit-build does not try.
    """

    name: str
    suffix: str
    open: Callable[[Path, EngineOptions], Stage]
    read_record: Callable[[Path], StageRecord]
    needs_gpu: bool = False
    key: BackendName | Literal[""] = ""


def _open_onnx(path: Path, options: EngineOptions) -> Stage:
    from .onnx import OnnxStage

    return OnnxStage(path, options.provider, options.threads)


def _open_openvino(path: Path, options: EngineOptions) -> Stage:
    from .openvino import OpenvinoStage

    return OpenvinoStage(path, options.provider, options.threads)


def _read_onnx(path: Path) -> StageRecord:
    return _open_onnx(path, EngineOptions("cpu")).record


def _require_no_provider(path: Path, options: EngineOptions) -> None:
    if options.provider != "auto":
        raise EngineError(f"--provider {options.provider} is for .onnx files, found {path}")


def _open_plan(path: Path, options: EngineOptions) -> Stage:
    _require_no_provider(path, options)
    from .tensorrt import TensorrtStage

    return TensorrtStage(path)


def _read_plan(path: Path) -> StageRecord:
    from ...bundle.plan_record import read_plan_record

    return read_plan_record(path).record


def _open_rtx(path: Path, options: EngineOptions) -> Stage:
    _require_no_provider(path, options)
    from .tensorrt_rtx import TensorrtRtxStage

    return TensorrtRtxStage(path)


def _read_rtx(path: Path) -> StageRecord:
    from ...bundle.plan_record import read_rtx_record

    return read_rtx_record(path).record


BACKENDS: tuple[Backend, ...] = (
    Backend("ONNX Runtime", ".onnx", _open_onnx, _read_onnx, key="onnxruntime"),
    Backend("OpenVINO", ".onnx", _open_openvino, _read_onnx, key="openvino"),
    Backend("TensorRT", ".plan", _open_plan, _read_plan, needs_gpu=True, key="tensorrt"),
    Backend("TensorRT for RTX", ".rtx", _open_rtx, _read_rtx, needs_gpu=True, key="tensorrt-rtx"),
)


def backend_of(path: Path, provider: Provider = "auto") -> Backend:
    """The row for a file. provider: which of the rows for .onnx files. Raises EngineError for a folder, and for a suffix that
    no backend has.
    """
    if path.is_dir():
        raise EngineError(no_engine(path))
    rows = [backend for backend in BACKENDS if path.suffix == backend.suffix]
    if not rows:
        suffixes = {
            backend.suffix: [row.name for row in BACKENDS if row.suffix == backend.suffix] for backend in BACKENDS
        }
        known = ", ".join(f"{suffix} ({' or '.join(names)})" for suffix, names in suffixes.items())
        raise EngineError(f"{no_engine(path)}. Engines are files of {known}")
    asked = PROVIDERS[provider].backend if provider in PROVIDERS else None
    return next((row for row in rows if row.key == asked), rows[0])


def gpu_provider(path: Path, provider: Provider) -> Provider:
    """The provider for a file that --device wants on a GPU of NVIDIA. Raises UsageError for one that runs elsewhere."""
    if backend_of(path, provider).needs_gpu or provider in ("cuda", "tensorrt"):
        return provider
    if provider == "auto":
        return "cuda"  # who names a GPU does not want the CPU where CUDA fails
    raise UsageError(
        f"--device: {path} runs by --provider {provider}, on no GPU of NVIDIA. Give --provider cuda or tensorrt, or leave"
        " --device out"
    )


def load_stage(path: Path, options: EngineOptions | None = None) -> Stage:
    """The engine in a file. Raises EngineError for a file that is no engine of ours or does not fit this machine."""
    options = options or EngineOptions()
    backend = backend_of(path, options.provider)
    require_placed(path.parent)
    return backend.open(path, options)


def read_record(path: Path) -> StageRecord:
    """What an engine file says of itself. Raises EngineError."""
    return backend_of(path).read_record(path)


def require_classifier(path: Path, purpose: str) -> None:
    """Raises UsageError for an engine that answers per cell. purpose: what needs one class per image."""
    if read_record(path).task != "classify":
        raise UsageError(
            f"{path} is of --task dense: it answers per cell, and {purpose} needs one class per image. sacvit-run draws and"
            f" writes answers per cell, and sacvit-profile measures their time"
        )
