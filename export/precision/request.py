"""The precision options of sacvit-export: which typed variants are made."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from ...bundle.errors import UsageError, nearest
from ...bundle.files import require_writable
from ...bundle.precision import PRECISIONS, Family, Limits, families
from ...calibration.methods import Method

GROUP = "precision: typed variants, each compared with FP32 and given a threshold of its own"
FP16_LIMIT = 512.0  # NVIDIA's AutoCast has the same limit (data_max)
LARGEST_FP16 = 65504.0
LIMITS = tuple(entry.name for entry in fields(Limits))


def option(default: Any, meaning: str, **more: Any) -> Any:
    """A field that commands/options.py turns into an option."""
    return field(default=default, metadata={"help": meaning, "group": GROUP, **more})


def percent(text: str) -> float | str:
    return text if text == "fp32" else float(text)


@dataclass(frozen=True)
class PrecisionOptions:
    """The variants to make, their images, and their limits."""

    fp16: bool = option(False, "Also write *.fp16.onnx.")
    bf16: bool = option(False, "Also write *.bf16.onnx: 16 bits with FP32's range, for GPUs from RTX 30 and Orin on.")
    fp8: bool = option(False, "Also write *.fp8.onnx, for GPUs with FP8: RTX 40 and 50, Hopper, Thor.")
    int8: bool = option(False, "Also write *.int8.onnx and *.int8fp16.onnx.")
    calib: Path | None = option(
        None,
        "Measure ranges on these images: a folder, a list (.txt) or arrays (.npz). Without it: the set that sacvit-train left"
        " beside the checkpoint, else a folder calib/ beside it, else built-in photographs.",
        metavar="PATH",
    )
    calib_count: int = option(512, "Number of images to measure ranges on.")
    calib_method: Method = option("mse", "How a range is chosen.")
    calib_cache: Path | None = option(None, "Folder of measured ranges (default: ~/.cache/sacvit).", metavar="DIR")
    evaluation: Path | None = option(
        None, "Judge the variants on these labelled images (default: --calib's).", flag="--eval", metavar="PATH"
    )
    match: Literal["exit-rate", "none"] = option(
        "exit-rate",
        "exit-rate: choose the threshold so that as many images exit as in FP32. none: keep FP32's threshold.",
    )
    min_top1: float | Literal["fp32"] | None = option(
        None,
        "Choose the smallest threshold with this top-1 on labelled images instead; without a number, FP32's top-1.",
        metavar="PERCENT",
        nargs="?",
        const="fp32",
        parse=percent,
    )
    auto: bool = option(False, "Leave the worst layers out of INT8 and FP8 until every guard holds.")
    qdq_weights: bool = option(
        False,
        "Store the weights of INT8 and FP8 files in full precision, in front of a Q/DQ pair each, as TensorRT 8.6 may"
        " need them: INT8 files are four times as large.",
    )
    sensitivity: Path | None = option(
        None, "Write each layer's effect to FILE.csv, and a plot beside it.", metavar="FILE.csv"
    )
    fp16_limit: float = option(FP16_LIMIT, "Keep tensors with larger values in FP32.")
    limits: dict[str, float] = field(default_factory=dict)  # fields of Limits
    families: tuple[Family, ...] = ()  # further ones of the table of precisions

    def wants(self, family: Family) -> bool:
        """Whether the rows of this family are to be written."""
        return family in self.families or bool(getattr(self, family, False))

    def require_sound(self) -> None:
        """Raises UsageError for options that cannot be meant together."""
        rows = [row for row in PRECISIONS if self.wants(row.family)]
        if not rows:
            untouched = PrecisionOptions()
            for entry in fields(self):
                if getattr(self, entry.name) != getattr(untouched, entry.name):
                    name = entry.metadata.get("flag", f"--{entry.name.replace('_', '-')}")
                    flag = "a guard's limit" if entry.name == "limits" else name
                    raise UsageError(
                        f"{flag} goes with --int8, --fp16, --bf16 or --fp8; without one it would have no effect"
                    )
        if self.auto and not any(row.quantizer for row in rows):
            raise UsageError("--auto goes with --int8 or --fp8: it leaves the worst layers in higher precision")
        if self.qdq_weights and not any(row.quantizer for row in rows):
            raise UsageError("--qdq-weights goes with --int8 or --fp8: other files have no quantized weights")
        if self.min_top1 is not None and self.min_top1 != "fp32" and not 0 <= self.min_top1 <= 100:
            raise UsageError(f"--min-top1 is a percentage in [0, 100], found {self.min_top1:g}")
        if self.min_top1 is not None and self.match == "none":
            raise UsageError("--match none keeps the threshold, --min-top1 fits it: give one of them")
        for name in self.families:
            if name not in families():
                raise UsageError(f"no precision {name!r}{nearest(name, families())}; known: {', '.join(families())}")
        for name, limit in self.limits.items():
            if name not in LIMITS:
                raise UsageError(f"no limit {name!r}{nearest(name, LIMITS)}; known: {', '.join(LIMITS)}")
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
