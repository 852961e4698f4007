"""How a pair is served. No heavy imports: --help reads this."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..runtime.bounds import Bounded

Place = Literal["cpu", "gpu"]


@dataclass(frozen=True)
class ServeOptions(Bounded):
    """How the models are served; None lets the engines decide."""

    python_only: bool = field(
        default=False,
        metadata={"help": "Run the engines inside the gate. For servers without the ONNX Runtime or TensorRT backend."},
    )
    device: Place | None = field(
        default=None, metadata={"help": "Run the engines here (default: cpu for .onnx, gpu for others)."}
    )
    instances: int = field(
        default=1,
        metadata={
            "help": "Number of instances of each model on each GPU; with --python-only on the first GPU.",
            "least": 1,
        },
    )
    max_batch: int | None = field(
        default=None,
        metadata={"help": "Largest number of images per batch (default: 16, or what the engines take).", "least": 1},
    )
    max_queue: int = field(
        default=64,
        metadata={"help": "Largest number of images that wait at an instance; more are refused.", "least": 1},
    )
