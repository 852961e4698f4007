"""`sacvit.export`: the export with every option as a named argument, for notebooks and scripts.

The options of a typed variant are the fields of PrecisionOptions, those of the network are the switches of ModelConfig. They
are documented there, and a test compares this signature with both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from inspect import formatannotation
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_type_hints

import msgspec

from ..bundle.errors import UsageError
from ..bundle.precision import Products
from ..calibration.methods import Method
from ..model.config import SWITCHES, Attention, ClassCluster, Downsample, ModelConfig, Reuse, Selection, Weights
from .precision.request import FP16_LIMIT, PrecisionOptions

if TYPE_CHECKING:
    from .write_bundle import Bundle


def export(
    ckpt: str | Path,
    out: str | Path = "build",
    *,
    int8: bool = False,
    fp16: bool = False,
    bf16: bool = False,
    fp8: bool = False,
    calib: str | Path | None = None,
    calib_count: int = 512,
    calib_method: Method = "mse",
    calib_cache: str | Path | None = None,
    evaluation: str | Path | None = None,
    match: Literal["exit-rate", "none"] = "exit-rate",
    min_top1: float | Literal["fp32"] | None = None,
    auto: bool = False,
    qdq_weights: bool = False,
    sensitivity: str | Path | None = None,
    fp16_limit: float = FP16_LIMIT,
    limits: dict[str, float] | None = None,
    families: tuple[str, ...] = (),
    labels: str | Path | None = None,
    threshold: float | None = None,
    batch: int | None = None,
    plain: bool = False,
    compile_for: tuple[str, ...] = (),
    products: Products = "masked",
    sac_alpha: tuple[float, ...] = (),
    weights: Weights | None = None,
    heads: int | None = None,
    selection: Selection | None = None,
    alpha: float | None = None,
    window: int | None = None,
    attention: Attention | None = None,
    downsample: Downsample | None = None,
    reuse: Reuse | None = None,
    class_cluster: ClassCluster | None = None,
    report: Callable[[str], None] = print,
) -> Bundle:
    """Exports a checkpoint as two checked ONNX graphs with their manifest, and as typed variants of them.

    ckpt: The .pth or .safetensors file; no code of it is run.
    out: Folder of the bundle. When a check fails, it stays as it was.
    labels: A text file with one class name per line.
    threshold: The gate's eta in [0, 1]; without it the checkpoint's, else 0.7.
    batch: Fix the graphs to 1 .. 256 images; None takes any number.
    plain: Also write plain.onnx, which sacvit-profile measures against.
    compile_for: Also build every file with TensorRT for RTX for these GPUs ("sm89"), and count its kernels.
    products: "masked" or "separate": clustered attention as one product under a mask, or as one per cluster.
    sac_alpha: Also write a SAC graph for each of these shares of target blocks.
    weights: "raw" or "ema", of a checkpoint that has both.
    report: Receives each line about the progress.
    """
    given = _converted({name: value for name, value in locals().items() if name in _HINTS})
    precision = {entry.name: given.pop(entry.name) for entry in fields(PrecisionOptions)}
    from .write_bundle import export as export_bundle  # here: this signature is read without torch

    return export_bundle(**given, precision=PrecisionOptions(**precision | {"limits": precision["limits"] or {}}))


_HINTS: dict[str, Any] = {
    name: hint for name, hint in get_type_hints(export, {**globals(), "Bundle": object}).items() if name != "return"
}


def _converted(given: dict[str, Any]) -> dict[str, Any]:
    """The arguments, converted to the types in their hints. Raises UsageError for another type."""
    return {name: _convert(name, value, _HINTS[name]) for name, value in given.items()}


def _convert(name: str, value: Any, hint: Any) -> Any:
    if name == "report":
        return value
    try:
        if Path not in get_args(hint):
            return msgspec.convert(getattr(value, "item", lambda: value)(), hint)  # NumPy's numbers become Python's
        if value is None and type(None) in get_args(hint):
            return None
        return Path(value)
    except (msgspec.ValidationError, TypeError):
        wanted = formatannotation(hint).replace("typing.", "")
        raise UsageError(f"export({name}=...) takes {wanted}, found {value!r:.60}") from None


def _help() -> str:
    """The meaning of each option of the variants and of the network, one per line."""
    meanings = {entry.name: entry.metadata.get("help") for entry in (*fields(PrecisionOptions), *fields(ModelConfig))}
    own = {
        "limits": "What a variant may cost, by the fields of Limits (bundle/precision.py), in place of the defaults.",
        "families": "Further precisions of the table, by name.",
        "heads": "Attention heads (default: the checkpoint's config, else width / 64).",
    }
    named = [entry.name for entry in fields(PrecisionOptions)] + list(SWITCHES)
    return "".join(f"    {name}: {own.get(name) or meanings[name]}\n" for name in named)


export.__doc__ = f"{export.__doc__}\n{_help()}    "
