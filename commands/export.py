"""sacvit-export: a checkpoint becomes two ONNX graphs and a manifest."""

from __future__ import annotations

import argparse
import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import get_args

from ..bundle.errors import SacvitError
from ..bundle.precision import PRECISIONS, Limits, Products, families
from ..export.plans.request import BuildRequest
from ..export.precision.request import PrecisionOptions
from ..machine.rtx_targets import read_targets
from ..model.config import SWITCHES, Attention, ClassCluster, Downsample, Reuse, Selection, Weights
from ..runtime.bounds import read_shares
from .frame import new_parser, run_command
from .options import add_options, read_options

logger = logging.getLogger(__name__)


def build_parser() -> argparse.ArgumentParser:
    about = (
        "Export a SAC-ViT, CF-ViT or LF-ViT checkpoint as two checked ONNX graphs. What no option says comes from the"
        " checkpoint's config; without one: topk, alpha 0.5, clustered, bilinear, embeddings, global."
    )
    parser = new_parser("sacvit-export", about)
    parser.add_argument(
        "--ckpt",
        type=Path,
        required=True,
        help="the .pth or .safetensors file, or a folder of Hugging Face; no code of it is run",
    )
    parser.add_argument(
        "--weights",
        choices=get_args(Weights),
        help="Use the raw weights, or their moving average, of a checkpoint that has both (default: raw).",
    )
    parser.add_argument("--out", type=Path, default=Path("build"), help="folder of the bundle (default: %(default)s)")
    parser.add_argument(
        "--heads", type=int, help="attention heads (default: the checkpoint's config, else width / 64 of a ViT)"
    )
    parser.add_argument(
        "--selection", choices=get_args(Selection), help="how target blocks are selected; see sacvit-train --help"
    )
    parser.add_argument("--alpha", type=float, help="share of the blocks (of the window) that become targets")
    parser.add_argument("--window", type=int, help="side of the window in blocks, with --selection window")
    parser.add_argument("--attention", choices=get_args(Attention), help="clustered: SAC-ViT; global: CF-ViT, LF-ViT")
    parser.add_argument("--downsample", choices=get_args(Downsample), help="bilinear: the public weights")
    parser.add_argument(
        "--reuse",
        choices=get_args(Reuse),
        help="what SAC gets of the non-target blocks; see sacvit-train --help",
    )
    parser.add_argument(
        "--class-cluster",
        choices=get_args(ClassCluster),
        help="what SAC's class token attends to; see sacvit-train --help",
    )
    parser.add_argument(
        "--products",
        choices=get_args(Products),
        default="masked",
        help="Compute clustered attention as one product under a mask, or as one product per cluster. The answers are the"
        " same (default: masked).",
    )
    parser.add_argument("--labels", type=Path, help="text file with one class name per line")
    parser.add_argument(
        "--threshold", type=float, help="the gate's eta in [0, 1] (default: the checkpoint's, else 0.7)"
    )
    parser.add_argument("--batch", type=int, help="fix the graphs to 1 .. 256 images (default: any number)")
    parser.add_argument("--plain", action="store_true", help="also plain.onnx, which sacvit-profile measures against")
    parser.add_argument(
        "--compile",
        type=read_targets,
        default=(),
        metavar="TARGETS",
        help="Build every file for these GPUs with TensorRT for RTX, which needs no GPU, and count its kernels: sm86,sm89.",
    )
    parser.add_argument(
        "--sac-alpha",
        type=read_shares,
        default=(),
        metavar="ALPHA[,ALPHA...]",
        help="Also write a SAC graph for each of these shares of target blocks; sacvit-tune --alpha compares them.",
    )
    parser.add_argument(
        "--no-build", action="store_true", help="Do not build TensorRT plans, even where TensorRT is installed."
    )
    add_options(parser, PrecisionOptions)
    for family in further_families():
        parser.add_argument(f"--{family}", action="store_true", help=f"Also write the {family.upper()} files.")
    add_limits(parser)
    return parser


def further_families() -> list[str]:
    """The families of the table of precisions without an option in PrecisionOptions. FP32 is always written."""
    known = {entry.name for entry in fields(PrecisionOptions)}
    return [family for family in families() if family not in known and family != "fp32"]


def add_limits(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("guards", "what a variant may cost")
    for entry in fields(Limits):
        defaults = "; ".join(
            f"{family.upper()} {getattr(limits, entry.name):g}"
            for family, limits in {row.family: row.limits for row in PRECISIONS[1:]}.items()
        )
        group.add_argument(
            entry.metadata["flag"],
            dest=entry.name,
            type=float,
            metavar="X",
            help=f"{entry.metadata['help']} (default: {defaults}).",
        )


def export_command(options: argparse.Namespace) -> int:
    from ..export.write_bundle import export  # here: --help answers without torch

    given = {entry.name: getattr(options, entry.name) for entry in fields(Limits)}
    limits = {name: value for name, value in given.items() if value is not None}
    further = tuple(family for family in further_families() if getattr(options, family))
    precision = read_options(PrecisionOptions, options, limits=limits, families=further)
    bundle = export(
        options.ckpt,
        options.out,
        labels=options.labels,
        threshold=options.threshold,
        batch=options.batch,
        precision=precision,
        plain=options.plain,
        compile_for=options.compile,
        products=options.products,
        sac_alpha=options.sac_alpha,
        report=logger.info,
        weights=options.weights,
        **{name: getattr(options, name) for name in SWITCHES},
    )
    logger.info("exported in %.1f s, threshold %g", bundle.duration_s, bundle.threshold)
    ee, sac = bundle.variants.get("int8", (bundle.ee, bundle.sac))
    if not options.no_build and (plans := build_here(bundle.folder)):
        ee, sac = plans
    logger.info("next: sacvit-run --engine %s %s --camera 0", ee, sac)
    print(bundle.folder)
    return 0


def build_here(folder: Path) -> tuple[Path, Path] | None:
    """The bundle's plans, where TensorRT is installed and a GPU answers; None elsewhere.

    The export is complete when this is called. A plan that fails is a warning only: the .onnx files run everywhere.
    """
    if importlib.util.find_spec("tensorrt") is None:
        return None
    from ..export.plans.build import build

    try:
        plans = build(folder, request=BuildRequest(report=logger.info))
    except (SacvitError, ModuleNotFoundError) as reason:
        logger.warning("the bundle in %s is complete, but it has no TensorRT plans: %s", folder, reason)
        return None
    return plans.ee, plans.sac


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), export_command, arguments)
