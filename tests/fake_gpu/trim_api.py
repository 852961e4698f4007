"""Cuts the Python APIs of TensorRT, as read off its bindings, down to what the stand-in has a counterpart of.

python tests/fake_gpu/trim_api.py FOLDER        FOLDER/8.6.json and so on -> tests/fake_gpu/tensorrt/api/

Of TensorRT for RTX: rtx-1.4 and rtx-1.7. What tests/bindings/read_api.py prints is a version's file.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
VERSIONS = ("8.6", "10.3", "10.16", "11.4", "rtx-1.4", "rtx-1.7")
ENUMS = (
    "ActivationType", "BuilderFlag", "ComputeCapability", "CudaGraphStrategy", "DataType",
    "DynamicShapesKernelSpecializationStrategy", "EngineInvalidityDiagnostics", "EngineValidity",
    "ExecutionContextAllocationStrategy", "LayerInformationFormat",
    "LayerType", "MemoryPoolType", "NetworkDefinitionCreationFlag", "PreviewFeature", "ProfilingVerbosity", "TensorIOMode",
)  # fmt: skip
CLASSES = (
    "Builder", "EngineInspector", "IBuilderConfig", "ICudaEngine", "IExecutionContext", "IHostMemory", "ILayer", "ILogger",
    "INetworkDefinition", "IOptimizationProfile", "IProfiler", "IProgressMonitor", "IRuntimeCache", "IRuntimeConfig",
    "ITensor", "ITimingCache", "OnnxParser", "ParserError", "Runtime",
)  # fmt: skip


def trim(api: dict) -> dict:
    """The classes and enums above, as far as a version has them."""
    return {
        "version": api["version"],
        "classes": {name: api["classes"][name] for name in CLASSES if name in api["classes"]},
        "enums": {name: sorted(api["enums"][name]) for name in ENUMS if name in api["enums"]},
    }


def main(folder: Path) -> None:
    out = HERE / "tensorrt" / "api"
    out.mkdir(parents=True, exist_ok=True)
    for version in VERSIONS:
        api = json.loads((folder / f"{version}.json").read_text())
        (out / f"{version}.json").write_text(json.dumps(trim(api), indent=0, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(os.fspath(sys.argv[1])))
