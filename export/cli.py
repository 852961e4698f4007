"""sacvit-export: a checkpoint becomes two ONNX graphs and a manifest."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..bundle.command import new_parser, run_command

SWITCHES = ("heads", "selection", "alpha", "window", "attention", "downsample")


def build_parser() -> argparse.ArgumentParser:
    about = (
        "Export a SAC-ViT, CF-ViT or LF-ViT checkpoint as two checked ONNX graphs. What no option says comes from the"
        " checkpoint's config; without one: topk, alpha 0.5, clustered, bilinear."
    )
    parser = new_parser("sacvit-export", about)
    parser.add_argument("--ckpt", type=Path, required=True, help="the .pth file; it is read without running any code")
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
    return parser


def export_command(options: argparse.Namespace) -> int:
    from .export import export  # here: --help answers without torch

    bundle = export(
        options.ckpt,
        options.out,
        labels=options.labels,
        threshold=options.threshold,
        batch=options.batch,
        report=lambda line: print(line, file=sys.stderr),
        **{name: getattr(options, name) for name in SWITCHES},
    )
    print(f"exported in {bundle.duration_s:.1f} s, threshold {bundle.threshold:g}", file=sys.stderr)
    print(f"next: sacvit-run --engine {bundle.ee} {bundle.sac} --camera 0", file=sys.stderr)
    print(bundle.folder)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), export_command, arguments)
