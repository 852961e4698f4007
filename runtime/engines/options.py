"""How engine files are run: the options that every command takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Provider = Literal["auto", "cpu", "cuda", "tensorrt"]


@dataclass(frozen=True, kw_only=True)
class EngineFiles:
    """The two files of a bundle that are run."""

    engine: tuple[Path, Path] = field(
        metadata={"help": "The two files of a bundle.", "nargs": 2, "metavar": ("EE", "SAC")}
    )


@dataclass(frozen=True)
class EngineOptions:
    """How engine files are run."""

    provider: Provider = field(
        default="auto",
        metadata={"help": "What ONNX Runtime runs .onnx engines on; auto: CUDA where it works, else the CPU."},
    )
    threads: int = 0  # of a CPU; 0 takes one per core
