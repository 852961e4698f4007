"""sacvit-serve: writes a model repository for Triton from a pair of engines."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..bundle.errors import UsageError
from .frame import new_parser, run_command

MAX_BATCH = 16
logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from ..serving.repository import Place


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser("sacvit-serve", "Write a model repository for Triton: the gate, and the two stages behind it.")
    parser.add_argument(
        "--engine", type=Path, nargs=2, metavar=("EE", "SAC"), required=True, help="Serve these two files of a bundle."
    )
    parser.add_argument(
        "--out", type=Path, default=Path("models"), help="Write the repository here (default: %(default)s)."
    )
    parser.add_argument(
        "--threshold", type=float, help="Use this eta for requests that give none, instead of the stored one."
    )
    parser.add_argument(
        "--python-only",
        action="store_true",
        help="Run the engines inside the gate. For servers without the ONNX Runtime or TensorRT backend.",
    )
    parser.add_argument(
        "--device", choices=("cpu", "gpu"), help="Run the engines here (default: gpu for plans, cpu for .onnx)."
    )
    parser.add_argument(
        "--instances",
        type=int,
        default=1,
        help="Number of instances of each model on each GPU; with --python-only on the first GPU (default: %(default)s).",
    )
    parser.add_argument(
        "--max-batch",
        type=int,
        help=f"Largest number of images per batch (default: {MAX_BATCH}, or what the plans take).",
    )
    parser.add_argument(
        "--max-queue",
        type=int,
        default=64,
        help="Largest number of images that wait at an instance; more are refused (default: %(default)s).",
    )
    return parser


def serve(options: argparse.Namespace) -> int:
    from ..runtime.chain.pipeline import Pipeline
    from ..serving.repository import Serving, write_repository

    for name in ("instances", "max_batch", "max_queue"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} must be at least 1, found {value}")
    plans = options.engine[0].suffix == ".plan"
    place: Place = options.device or ("gpu" if plans else "cpu")
    if plans and place == "cpu":
        raise UsageError("--device cpu: plans run on a GPU; give the .onnx files")
    pipeline = Pipeline.load(options.engine[0], options.engine[1], options.threshold, "auto" if plans else "cpu")
    max_batch = options.max_batch or min(MAX_BATCH, pipeline.ee.capacity or MAX_BATCH)
    serving = Serving(options.python_only, place, options.instances, max_batch, options.max_queue)
    for folder in write_repository(pipeline, options.out, serving):
        print(folder)
    logger.info("Serve it: tritonserver --model-repository %s (docs/serving.md)", options.out)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), serve, arguments)
