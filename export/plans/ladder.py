"""The ways to build a stage of some precision on some TensorRT, fastest first.

TensorRT has built FP16 transformers wrongly in more than one version (tensorrt_support.json, known_bad). A plan whose check
fails is built again by the next way: each gives up a little more speed for a simpler engine.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from ...bundle.precision import PRECISIONS, Family, Precision, families, row_of

Typing = Literal["strong", "weak"]
Attention = Literal["as it comes", "bf16", "unfused", "fp32"]


TABLE = Path(__file__).with_name("tensorrt_support.json")


@cache
def load_table() -> dict[str, Any]:
    """What is documented of TensorRT's versions, with sources."""
    content: dict[str, Any] = json.loads(TABLE.read_text("utf-8"))
    return content


@dataclass(frozen=True)
class Features:
    """What this TensorRT offers, found by looking: strong typing and BF16 (from 10 on), precision flags (up to 10)."""

    strong: bool
    flags: bool
    bf16: bool


@dataclass(frozen=True)
class Rung:
    """One way to build a stage. precision: of the ONNX file that it starts from."""

    name: str
    precision: Precision
    typing: Typing
    attention: Attention = "as it comes"

    @property
    def computes_in(self) -> Precision:
        """What its answers are to be judged as: TensorRT may take FP16 where flags allow it."""
        return "fp16" if self.precision == "fp32" and self.typing == "weak" else self.precision

    @property
    def weak_flags(self) -> tuple[str, ...]:
        """TensorRT's builder flags that leave types to it; none where the graph says them all."""
        return row_of(self.computes_in).weak_flags if self.typing == "weak" else ()


def features_of(trt: Any) -> Features:
    return Features(
        strong=hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"),
        flags=hasattr(trt.BuilderFlag, "FP16"),
        bf16=hasattr(trt.DataType, "BF16"),
    )


def ladder(wanted: Family, features: Features, exported: Collection[Precision], is_alone: bool = False) -> list[Rung]:
    """The rungs for a precision, of the files that the bundle has; the last one is always FP32.

    is_alone: no other precision is a fallback, since each is tried by itself.

    Behind FP16 comes BF16, where it was exported, though its answers are coarser: what overflows in FP16 it holds.
    """
    fp32 = Rung("FP32", "fp32", "strong")
    if is_alone:
        return [fp32] if wanted == "fp32" else _rungs(wanted, features, exported)
    known = families()
    order = list(reversed(known[1 : known.index(wanted) + 1]))
    if wanted not in ("fp32", "bf16"):
        order = [family for family in order if family != "bf16"] + ["bf16"]
    rungs: list[Rung] = []
    for family in order:
        rungs += _rungs(family, features, exported)
    return [*rungs, fp32]


def _rungs(family: Family, features: Features, exported: Collection[Precision]) -> list[Rung]:
    name = family.upper()
    rows = [row for row in PRECISIONS if row.family == family and row.name in exported]
    ways: list[tuple[str, Precision, Typing]] = []
    if features.strong:
        ways += [(f"{name}, strongly typed", row.name, "strong") for row in rows if row.is_typed]
    if features.flags:
        ways += [(f"{name}, by flags", row.name, "weak") for row in rows if row.weak_flags]
    rungs = [Rung(*way) for way in ways]
    if family == "fp16" and features.flags:
        rungs.append(Rung("FP16, types chosen by TensorRT", "fp32", "weak"))
    if ways:
        first, precision, typing = ways[0]
        if features.bf16 and typing == "strong" and row_of(precision).body == "fp16":
            rungs.append(Rung(f"{first}, attention in BF16", precision, typing, "bf16"))
        rungs.append(Rung(f"{first}, attention unfused", precision, typing, "unfused"))
        rungs.append(Rung(f"{first}, attention in FP32", precision, typing, "fp32"))
    return rungs


def compares_typings(version: str, table: Any) -> bool:
    """Whether both typings are to be built and compared on this TensorRT: where NVIDIA calls strong typing unfinished."""
    bounds = table["compare_typings"]
    return _numbers(bounds["from"]) <= _numbers(version)[:2] < _numbers(bounds["before"])


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
