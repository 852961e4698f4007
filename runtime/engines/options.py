"""How engine files are run: the options that every command takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ...bundle.precision import Precision

BackendName = Literal["onnxruntime", "openvino", "tensorrt", "tensorrt-rtx"]
Provider = Literal["auto", "cpu", "cuda", "tensorrt", "openvino", "openvino-bf16", "openvino-gpu", "openvino-npu"]


@dataclass(frozen=True)
class ProviderRow:
    """One way to run .onnx files. device: as the backend names it. computes_in: what FP32 operators compute in."""

    backend: BackendName
    device: str
    computes_in: Precision = "fp32"


# FP32 that is FP32, unless something else was asked for: by itself OpenVINO takes BF16 where the processor has it.
PROVIDERS: dict[Provider, ProviderRow] = {
    "cpu": ProviderRow("onnxruntime", "CPUExecutionProvider"),
    "cuda": ProviderRow("onnxruntime", "CUDAExecutionProvider"),
    "tensorrt": ProviderRow("onnxruntime", "TensorrtExecutionProvider"),
    "openvino": ProviderRow("openvino", "CPU"),
    "openvino-bf16": ProviderRow("openvino", "CPU", "bf16"),
    "openvino-gpu": ProviderRow("openvino", "GPU"),
    "openvino-npu": ProviderRow("openvino", "NPU", "fp16"),  # it has no other
}


def providers_of(backend: str) -> list[Provider]:
    """The providers that a backend of the table runs .onnx files by; empty for one that has files of its own."""
    return [name for name, row in PROVIDERS.items() if row.backend == backend]


@dataclass(frozen=True, kw_only=True)
class EngineFiles:
    """The two files of a bundle that are run. A command line may name their folder: commands/frame.py looks into it."""

    engine: tuple[Path, Path] = field(
        metadata={"help": "The folder of a bundle, or its two files.", "nargs": "+", "metavar": "PATH"}
    )


@dataclass(frozen=True)
class EngineOptions:
    """How engine files are run. device: of the whole process, see machine/visible_gpus.py."""

    provider: Provider = field(
        default="auto",
        metadata={
            "help": "What runs .onnx engines: ONNX Runtime (auto: on CUDA where it works, else the CPU) or OpenVINO."
        },
    )
    threads: int = 0  # of a CPU; 0 takes one per physical core that this process may use
    device: int | None = field(
        default=None,
        metadata={
            "help": "Use the GPU of this number; 0 is the first (default: the first, if anything runs on a GPU).",
            "metavar": "N",
        },
    )
