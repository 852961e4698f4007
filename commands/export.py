"""sacvit-export: a checkpoint becomes two ONNX graphs and a manifest."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from ..bundle.errors import DeviceError
from ..model.config import SWITCHES
from .frame import new_parser, run_command

LIMITS = {  # fields of calibration.guards.Limits
    "exit_agreement": ("--min-exit-agreement", "share of images with FP32's gate decision (0.98; FP16 0.995)"),
    "far_flips": ("--max-far-flips", "share whose gate flips though 0.05 or more from eta (0.005; FP16 0)"),
    "band_flips": ("--max-band-flips", "share whose gate flips, of those nearer to eta (0.25; FP16 0.05)"),
    "top1_agreement": ("--min-top1-agreement", "share with FP32's class, on either path (0.95; FP16 0.98)"),
    "target_overlap": ("--min-target-overlap", "share of FP32's target blocks kept (0.9; FP16 0.99)"),
    "logit_error": ("--max-logit-error", "mean |logit difference| (0.25; FP16 0.01)"),
    "top1_drop": ("--max-top1-drop", "points of top-1 that the chain may lose, with labels (1; FP16 0.5)"),
}


def build_parser() -> argparse.ArgumentParser:
    about = (
        "Export a SAC-ViT, CF-ViT or LF-ViT checkpoint as two checked ONNX graphs. What no option says comes from the"
        " checkpoint's config; without one: topk, alpha 0.5, clustered, bilinear."
    )
    parser = new_parser("sacvit-export", about)
    parser.add_argument("--ckpt", type=Path, required=True, help="the .pth or .safetensors file; no code of it is run")
    parser.add_argument(
        "--weights",
        choices=("raw", "ema"),
        help="Use the raw weights, or their moving average, of a checkpoint that has both (default: raw).",
    )
    parser.add_argument("--out", type=Path, default=Path("build"), help="folder of the bundle (default: %(default)s)")
    parser.add_argument("--heads", type=int, help="attention heads (default: the checkpoint's config, else width / 64)")
    parser.add_argument("--selection", choices=("topk", "window"), help="topk: SAC-ViT, CF-ViT; window: LF-ViT")
    parser.add_argument("--alpha", type=float, help="share of the blocks (of the window) that become targets")
    parser.add_argument("--window", type=int, help="side of the window in blocks, with --selection window")
    parser.add_argument(
        "--attention", choices=("clustered", "global"), help="clustered: SAC-ViT; global: CF-ViT, LF-ViT"
    )
    parser.add_argument("--downsample", choices=("bilinear", "area"), help="bilinear: the public weights")
    parser.add_argument("--labels", type=Path, help="text file with one class name a line")
    parser.add_argument(
        "--threshold", type=float, help="the gate's eta in [0, 1] (default: the checkpoint's, else 0.7)"
    )
    parser.add_argument("--batch", type=int, help="fix the graphs to 1 .. 256 images (default: any number)")
    parser.add_argument("--plain", action="store_true", help="also plain.onnx, which sacvit-profile measures against")
    parser.add_argument(
        "--no-build", action="store_true", help="no TensorRT plans, where TensorRT is: for another device"
    )
    add_precision(parser)
    return parser


def add_precision(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "precision", "typed variants, each compared with FP32 and given a threshold of its own"
    )
    group.add_argument("--fp16", action="store_true", help="also write *.fp16.onnx")
    group.add_argument("--int8", action="store_true", help="also write *.int8.onnx and *.int8fp16.onnx; needs --calib")
    group.add_argument("--calib", type=Path, metavar="PATH", help="images: a folder, a list (.txt) or arrays (.npz)")
    group.add_argument("--calib-count", type=int, default=512, help="how many of them (default: %(default)s)")
    group.add_argument(
        "--calib-method",
        choices=("minmax", "percentile", "entropy", "mse"),
        default="mse",
        help="how a range is chosen (default: %(default)s)",
    )
    group.add_argument(
        "--calib-cache", type=Path, metavar="DIR", help="where ranges are kept (default: ~/.cache/sacvit)"
    )
    group.add_argument("--eval", type=Path, metavar="PATH", help="labelled images to judge on (default: --calib's)")
    group.add_argument(
        "--match",
        choices=("exit-rate", "none"),
        default="exit-rate",
        help="fit the threshold so that as many images exit as in FP32, or leave it (default: %(default)s)",
    )
    group.add_argument(
        "--min-top1",
        nargs="?",
        const="fp32",
        type=percent,
        metavar="PERCENT",
        help="instead: the smallest threshold with this top-1 on labelled images; without a number, FP32's",
    )
    group.add_argument("--auto", action="store_true", help="leave the worst layers out of INT8 until every guard holds")
    group.add_argument(
        "--sensitivity", type=Path, metavar="FILE.csv", help="write each layer's effect, and a plot beside"
    )
    group.add_argument(
        "--fp16-limit", type=float, default=512.0, help="keep larger tensors in FP32 (default: %(default)g)"
    )
    limits = parser.add_argument_group("guards", "what a variant may cost; the defaults differ between FP16 and INT8")
    for name, (flag, meaning) in LIMITS.items():
        limits.add_argument(flag, dest=name, type=float, metavar="X", help=meaning)


def percent(text: str) -> float | str:
    return text if text == "fp32" else float(text)


def export_command(options: argparse.Namespace) -> int:
    from ..export.precision.options import PrecisionOptions
    from ..export.write_bundle import export  # here: --help answers without torch

    precision = PrecisionOptions(
        int8=options.int8,
        fp16=options.fp16,
        calib=options.calib,
        calib_count=options.calib_count,
        calib_method=options.calib_method,
        calib_cache=options.calib_cache,
        evaluation=options.eval,
        match=options.match,
        min_top1=options.min_top1,
        sensitivity=options.sensitivity,
        auto=options.auto,
        fp16_limit=options.fp16_limit,
        limits={name: getattr(options, name) for name in LIMITS if getattr(options, name) is not None},
    )
    bundle = export(
        options.ckpt,
        options.out,
        labels=options.labels,
        threshold=options.threshold,
        batch=options.batch,
        precision=precision,
        plain=options.plain,
        report=lambda line: print(line, file=sys.stderr),
        weights=options.weights,
        **{name: getattr(options, name) for name in SWITCHES},
    )
    print(f"exported in {bundle.duration_s:.1f} s, threshold {bundle.threshold:g}", file=sys.stderr)
    ee, sac = bundle.variants.get("int8", (bundle.ee, bundle.sac))
    if not options.no_build and (plans := build_here(bundle.folder)):
        ee, sac = plans
    print(f"next: sacvit-run --engine {ee} {sac} --camera 0", file=sys.stderr)
    print(bundle.folder)
    return 0


def build_here(folder: Path) -> tuple[Path, Path] | None:
    """The bundle's plans, where TensorRT is installed and a GPU answers; None elsewhere."""
    if importlib.util.find_spec("tensorrt") is None:
        return None
    from ..export.plans.build import build

    try:
        plans = build(folder, report=lambda line: print(line, file=sys.stderr))
    except (DeviceError, ModuleNotFoundError) as reason:
        print(f"no plans: {reason}", file=sys.stderr)
        return None
    return plans.ee, plans.sac


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), export_command, arguments)
