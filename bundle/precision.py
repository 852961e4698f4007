"""The table of precisions: one row holds everything that the export, the plans, the guards and the estimates ask of one.

docs/extending.md shows how to add a row. docs/precision.md has the reasons for the limits.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from .errors import ConfigError, nearest

Precision = str  # the name of a row
Family = str  # what a user asks for: the rows that --fp16 or --int8 writes
Body = Literal["fp32", "fp16", "bf16"]
Units = Literal["fp32", "fp16", "bf16", "fp8", "int8"]  # what the products run on
Stored = Literal["INT8", "FLOAT8E4M3FN"]  # the type of quantised values, as ONNX names it
Form = Literal["cpu", "gpu"]  # which of two equal graphs: see export/graphs/stages.py
FORMS: tuple[Form, Form] = ("cpu", "gpu")
Products = Literal["masked", "separate"]  # how SAC attends in clusters: see export/graphs/clusters.py


def limit(meaning: str, flag: str) -> Any:
    """A field that commands/options.py makes an option of."""
    return field(metadata={"help": meaning, "flag": flag})


@dataclass(frozen=True)
class Limits:
    """What a variant may cost. Shares in [0, 1]; logit_error in logits; top1_drop in points (of 100)."""

    exit_agreement: float = limit("Least share of images with FP32's gate decision", "--min-exit-agreement")
    band_flips: float = limit("Largest share of gate flips among images within 0.05 of eta", "--max-band-flips")
    far_flips: float = limit("Largest share of images whose gate flips 0.05 or more from eta", "--max-far-flips")
    top1_agreement: float = limit("Least share of images with FP32's class, on either path", "--min-top1-agreement")
    target_overlap: float = limit("Least share of FP32's target blocks that are kept", "--min-target-overlap")
    logit_error: float = limit("Largest mean |logit difference|", "--max-logit-error")
    top1_drop: float = limit("Most points of top-1 that the chain may lose, with labels", "--max-top1-drop")

    def on_strangers(self) -> Limits:
        """The limits where images judge that are not what the model is for: see STRANGERS_LOGIT_ERROR."""
        return replace(self, logit_error=STRANGERS_LOGIT_ERROR * self.logit_error)

    def but(self, **given: float | None) -> Limits:
        """These limits with others in the place of those that are given."""
        return replace(self, **{name: value for name, value in given.items() if value is not None})


@dataclass(frozen=True)
class Row:
    """One precision.

    family: the option that writes it. body: the type of what is not quantised. quantizer: a name in
    calibration/quantizers.py; None where nothing is quantised. opset: of the graph. limits: what its answers may cost against
    FP32's. weight_bytes: of a weight. units: what its products run on. is_typed: the graph says every type, for a strongly
    typed TensorRT. weak_flags: TensorRT's builder flags where types are left to it; empty where that is no way to build it.
    rounds_to: of quantised values.
    """

    name: Precision
    family: Family
    body: Body
    quantizer: str | None
    opset: int
    limits: Limits
    weight_bytes: int
    units: Units
    is_typed: bool
    weak_flags: tuple[str, ...]
    rounds_to: Stored = "INT8"

    @property
    def form(self) -> Form:
        """What the graph is written for: FP32 bodies run on CPUs, typed ones on GPUs."""
        return "cpu" if self.body == "fp32" else "gpu"

    @property
    def runs_on_cpu(self) -> bool:
        """Whether ONNX Runtime runs the file: it has no BF16 products, and takes FP8 pairs for INT8 ones."""
        return self.body != "bf16" and self.rounds_to == "INT8"

    @property
    def suffix(self) -> str:
        """Between a file's stem and .onnx."""
        return "" if self.name == "fp32" else f".{self.name}"


# Wide enough that one image more or less among the hundred that reach SAC in a usual run decides nothing.
FP16_LIMITS = Limits(0.995, 0.05, 0.0, 0.98, 0.99, 0.01, 0.5)
FP32_LIMITS = Limits(0.995, 0.05, 0.0, 0.98, 0.99, 0.001, 0.5)  # of another backend: sums in another order
BF16_LIMITS = Limits(0.99, 0.15, 0.0, 0.97, 0.95, 0.08, 0.5)  # 8 bits where FP16 has 11: errors are 8 times as large
INT8_LIMITS = Limits(0.98, 0.25, 0.005, 0.95, 0.9, 0.25, 1.0)

# Of the limit. Photographs of anything may all get one class and take one path: every share is then held by bad models too,
# and logits alone still differ, by half of what they do on images of the model's own. benchmarks/builtin_calibration.py:
# of 23 bad digits models with a class for "nothing", 13 passed on the built-in photographs; with this none does.
STRANGERS_LOGIT_ERROR = 0.4

OPSET = 17  # the newest that TensorRT 8.6 parses, the oldest with LayerNormalization
FP16_SCALES_OPSET = 19  # the first in which QuantizeLinear takes an FP16 scale

# From the finest to the coarsest.
PRECISIONS: list[Row] = [
    Row("fp32", "fp32", "fp32", None, OPSET, FP32_LIMITS, 4, "fp32", True, ()),
    Row("fp16", "fp16", "fp16", None, OPSET, FP16_LIMITS, 2, "fp16", True, ("FP16",)),
    Row("bf16", "bf16", "bf16", None, OPSET, BF16_LIMITS, 2, "bf16", True, ()),
    Row("fp8", "fp8", "fp16", "fp8", FP16_SCALES_OPSET, INT8_LIMITS, 1, "fp8", True, (), "FLOAT8E4M3FN"),
    Row("int8fp16", "int8", "fp16", "int8_mlp", FP16_SCALES_OPSET, INT8_LIMITS, 1, "int8", True, ()),
    Row("int8", "int8", "fp32", "int8", OPSET, INT8_LIMITS, 1, "int8", False, ("FP16", "INT8")),
]


def row_of(name: Precision) -> Row:
    """Raises ConfigError for a name that no row has."""
    for row in PRECISIONS:
        if row.name == name:
            return row
    known = [row.name for row in PRECISIONS]
    raise ConfigError(f"no precision {name!r}{nearest(name, known)}; known: {', '.join(known)}")


def families() -> list[Family]:
    """What can be asked for, from the finest to the coarsest."""
    return list(dict.fromkeys(row.family for row in PRECISIONS))


def coarsest(names: Collection[Precision]) -> Row:
    """The row of several whose answers are to be judged most mildly."""
    return [row for row in PRECISIONS if row.name in names][-1]


def file_name(stage: str, precision: Precision, alpha: float | None = None) -> str:
    """ee.onnx, sac.int8.onnx and so on. alpha: of a further SAC, as in sac-alpha0.25.int8.onnx."""
    name = f"{stage.lower()}{row_of(precision).suffix}.onnx"
    return name if alpha is None else further_name(name, alpha)


def further_name(name: str, alpha: float) -> str:
    """The name of the SAC with another alpha beside a SAC file of this name, in any precision and of any backend."""
    return name.replace("sac", f"sac-alpha{alpha:g}", 1)
