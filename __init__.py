"""sacvit: two-stage early-exit vision transformers, from a checkpoint to a running, measured program.

    from sacvit import Pipeline
    result = Pipeline.load("build/ee.onnx", "build/sac.onnx")(image)

Names are imported when they are first used, so that a device without torch can use the runtime.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .bundle.preprocess import Preprocessing
    from .export.by_name import export
    from .model.checkpoint import load_checkpoint
    from .model.config import ModelConfig
    from .model.cost import count_cost
    from .runtime.chain.gate import Gate
    from .runtime.chain.pipeline import Pipeline
    from .runtime.chain.result import Result

__version__ = "0.1.0"

# ONNX Runtime for Linux starts its telemetry when it is imported: it stores a device's number and a file in TMPDIR before
# `disable_telemetry_events` can be called. A user's own setting stays.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_HOMES = {
    "Gate": ".runtime.chain.gate",
    "ModelConfig": ".model.config",
    "Pipeline": ".runtime.chain.pipeline",
    "Preprocessing": ".bundle.preprocess",
    "Result": ".runtime.chain.result",
    "count_cost": ".model.cost",
    "load_checkpoint": ".model.checkpoint",
}
__all__ = [
    "Gate", "ModelConfig", "Pipeline", "Preprocessing", "Result", "count_cost", "export", "load_checkpoint",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "export":
        return import_module(".export", __name__)  # a package that can be called
    if name not in _HOMES:
        raise AttributeError(f"module 'sacvit' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
