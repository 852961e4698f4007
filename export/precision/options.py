"""The typed variants of an export and their results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import onnx

from ...bundle import manifest
from ...bundle.files import cache_folder
from ...bundle.precision import Form, Limits, Precision
from ...bundle.preprocess import ImageU8
from ...calibration.guards import Guard
from .retype import Retyping

Stage = Literal["EE", "SAC"]
STAGES: tuple[Stage, Stage] = ("EE", "SAC")
Models = dict[Stage, onnx.ModelProto]
Graphs = dict[Form, Models]  # an FP32 pair in both forms
Report = Callable[[str], None]


def default_cache() -> Path:
    """The default folder of measured ranges."""
    return cache_folder("calibration")


@dataclass
class Variant:
    """A typed pair. `left`: layers by stage that --auto left unquantised."""

    precision: Precision
    ee: onnx.ModelProto
    sac: onnx.ModelProto
    threshold: float
    threshold_source: str
    guards: list[Guard]
    left: dict[Stage, list[str]]
    retypings: dict[Stage, Retyping]
    limits: Limits

    def describe(self, threshold_fp32: float) -> manifest.Variant:
        """The variant's entry in the manifest."""
        return manifest.Variant(
            threshold=manifest.Threshold(self.threshold, self.threshold_source, threshold_fp32),
            limits=self.limits,
            guards=[guard.to_dict() for guard in self.guards],
            left_out_of_int8={str(stage): names for stage, names in self.left.items()},
            kept_in_fp32={stage: dict(made.kept) for stage, made in self.retypings.items()},
            weights={
                stage: {
                    "fp16": made.weights,
                    "subnormal": made.subnormal_weights,
                    "beyond_fp16": made.overflowing_weights,
                }
                for stage, made in self.retypings.items()
            },
        )


@dataclass
class Variants:
    """All variants of an export, and the images that they were made from and judged on."""

    made: list[Variant]
    calibration: dict[str, Any]
    evaluation: dict[str, Any]
    sample: ImageU8  # of the images that judged them, for the reference answers
