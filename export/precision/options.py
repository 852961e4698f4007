"""Which typed variants an export makes, and what became of each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import onnx

from ...bundle.errors import UsageError
from ...bundle.files import cache_folder, require_writable
from ...bundle.manifest import Precision
from ...bundle.preprocess import ImageU8
from ...calibration.guards import Guard, Limits
from ...calibration.ranges import Method
from .retype import LARGEST_FP16, LIMIT, Retyping

Stage = Literal["EE", "SAC"]
STAGES: tuple[Stage, Stage] = ("EE", "SAC")
Models = dict[Stage, onnx.ModelProto]
Report = Callable[[str], None]


def default_cache() -> Path:
    """Where ranges are kept."""
    return cache_folder("calibration")


FLAGS = {  # what has no effect without a variant
    "calib": "--calib",
    "calib_count": "--calib-count",
    "calib_method": "--calib-method",
    "calib_cache": "--calib-cache",
    "evaluation": "--eval",
    "match": "--match",
    "min_top1": "--min-top1",
    "sensitivity": "--sensitivity",
    "fp16_limit": "--fp16-limit",
    "limits": "a guard's limit",
}


@dataclass(frozen=True)
class PrecisionOptions:
    """Which variants to make, from which images, and what they may cost."""

    int8: bool = False
    fp16: bool = False
    calib: Path | None = None
    calib_count: int = 512
    calib_method: Method = "mse"
    calib_cache: Path | None = None  # None: default_cache()
    evaluation: Path | None = None
    match: Literal["exit-rate", "none"] = "exit-rate"
    min_top1: float | Literal["fp32"] | None = None  # percent
    sensitivity: Path | None = None  # the .csv; a .png of the same name goes beside it
    auto: bool = False
    fp16_limit: float = LIMIT
    limits: dict[str, float] = field(default_factory=dict)  # fields of Limits

    def require_sound(self) -> None:
        """Raises UsageError for options that cannot be meant together."""
        if self.int8 and self.calib is None:
            raise UsageError("--int8 needs --calib: the folder, list or .npz of images that ranges are measured on")
        if not (self.int8 or self.fp16):
            untouched = PrecisionOptions()
            for name, flag in FLAGS.items():
                if getattr(self, name) != getattr(untouched, name):
                    raise UsageError(f"{flag} goes with --int8 or --fp16; without them it would have no effect")
        if self.auto and not self.int8:
            raise UsageError("--auto goes with --int8: it leaves the worst layers in higher precision")
        if self.min_top1 is not None and self.min_top1 != "fp32" and not 0 <= self.min_top1 <= 100:
            raise UsageError(f"--min-top1 is a percentage in [0, 100], found {self.min_top1:g}")
        if self.min_top1 is not None and self.match == "none":
            raise UsageError("--match none keeps the threshold, --min-top1 fits it: give one of them")
        for name, limit in self.limits.items():
            if not 0 <= limit < math.inf:
                raise UsageError(f"the limit of {name.replace('_', ' ')} must be 0 or more, found {limit:g}")
        if not 0 < self.fp16_limit <= LARGEST_FP16:
            raise UsageError(f"--fp16-limit must lie in (0, {LARGEST_FP16:g}], found {self.fp16_limit:g}")
        if self.sensitivity is not None:
            require_writable(self.sensitivity, "--sensitivity", ".csv")
            for name, images in (("--calib", self.calib), ("--eval", self.evaluation)):
                home = images and (images if images.is_dir() else images.parent if images.suffix == ".txt" else None)
                if home and self.sensitivity.resolve().is_relative_to(home.resolve()):
                    raise UsageError(
                        f"--sensitivity {self.sensitivity} lies among the images of {name}; write elsewhere"
                    )


@dataclass
class Variant:
    """A typed pair. `left`: layers by stage that --auto took out of INT8."""

    precision: Precision
    ee: onnx.ModelProto
    sac: onnx.ModelProto
    threshold: float
    threshold_source: str
    guards: list[Guard]
    left: dict[Stage, list[str]]
    retypings: dict[Stage, Retyping]
    limits: Limits

    def describe(self, threshold_fp32: float) -> dict[str, Any]:
        """What the manifest says of it."""
        return {
            "threshold": {"value": self.threshold, "source": self.threshold_source, "fp32": threshold_fp32},
            "limits": asdict(self.limits),
            "guards": [guard.to_dict() for guard in self.guards],
            "left_out_of_int8": self.left,
            "kept_in_fp32": {stage: made.kept for stage, made in self.retypings.items()},
            "weights": {
                stage: {
                    "fp16": made.weights,
                    "subnormal": made.subnormal_weights,
                    "beyond_fp16": made.overflowing_weights,
                }
                for stage, made in self.retypings.items()
            },
        }


@dataclass
class Variants:
    """All variants of an export, and the images that they were made from and judged on."""

    made: list[Variant]
    calibration: dict[str, Any]
    evaluation: dict[str, Any]
    sample: ImageU8  # of the images that judged them, for the goldens
