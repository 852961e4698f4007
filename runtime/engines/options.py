"""How engine files are run: the options that every command takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

# Four of ONNX Runtime, four of OpenVINO.
Provider = Literal["auto", "cpu", "cuda", "tensorrt", "openvino", "openvino-bf16", "openvino-gpu", "openvino-npu"]


@dataclass(frozen=True, kw_only=True)
class EngineFiles:
    """The two files of a bundle that are run. A command line may name their folder: commands/frame.py looks into it."""

    engine: tuple[Path, Path] = field(
        metadata={"help": "The folder of a bundle, or its two files.", "nargs": "+", "metavar": "PATH"}
    )


@dataclass(frozen=True)
class EngineOptions:
    """How engine files are run."""

    provider: Provider = field(
        default="auto",
        metadata={
            "help": "What runs .onnx engines: ONNX Runtime (auto: on CUDA where it works, else the CPU) or OpenVINO."
        },
    )
    threads: int = 0  # of a CPU; 0 takes one per physical core that this process may use
