"""How engine files are run: the options that every command takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Provider = Literal["auto", "cpu", "cuda", "tensorrt"]


@dataclass(frozen=True)
class EngineOptions:
    """How engine files are run."""

    provider: Provider = field(
        default="auto",
        metadata={"help": "What ONNX Runtime runs .onnx engines on; auto: CUDA where it works, else the CPU."},
    )
    threads: int = 0  # of a CPU; 0 takes one per core
