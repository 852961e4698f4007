"""Which backend runs an engine file."""

from __future__ import annotations

from pathlib import Path

from ...bundle.errors import EngineError
from ...bundle.manifest import StageRecord
from .stage import Provider, Stage


def load_stage(path: Path, provider: Provider = "auto", threads: int = 0) -> Stage:
    """The engine in a file, by its suffix. provider, threads: of ONNX Runtime, for an .onnx file; 0 for a thread a core.

    Raises EngineError for a file that is no engine of ours or does not fit this machine.
    """
    if path.suffix == ".onnx" or path.is_dir():
        from .onnx import OnnxStage

        return OnnxStage(path, provider, threads)
    if path.suffix == ".plan":
        if provider != "auto":
            raise EngineError(f"--provider {provider} is for .onnx files; {path} is a TensorRT plan")
        from .tensorrt import TensorrtStage

        return TensorrtStage(path)
    raise EngineError(f"{path}: engines are .onnx and .plan files; found suffix {path.suffix or 'none'!r}")


def read_record(path: Path) -> StageRecord:
    """What an engine file says of itself; a plan's also on a machine that cannot run it. Raises EngineError."""
    if path.suffix == ".plan":
        from ...bundle.plan_record import read_plan_record

        return read_plan_record(path).record
    return load_stage(path, "cpu").record
