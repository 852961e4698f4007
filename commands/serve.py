"""sacvit-serve: a pair of engines becomes a model repository for Triton."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..bundle.errors import UsageError
from .frame import new_parser, run_command

MAX_BATCH = 16

if TYPE_CHECKING:
    from ..serving.repository import Place


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser("sacvit-serve", "Write a Triton model repository: the gate, and the two stages behind it.")
    parser.add_argument(
        "--engine", type=Path, nargs=2, metavar=("EE", "SAC"), required=True, help="the two files of a bundle"
    )
    parser.add_argument("--out", type=Path, default=Path("models"), help="the repository (default: %(default)s)")
    parser.add_argument("--threshold", type=float, help="eta that requests get by default, instead of the stored one")
    parser.add_argument(
        "--python-only",
        action="store_true",
        help="run the engines inside the gate: for servers without the ONNX Runtime or TensorRT backend",
    )
    parser.add_argument(
        "--device", choices=("cpu", "gpu"), help="where the engines run (default: plans gpu, .onnx cpu)"
    )
    parser.add_argument(
        "--instances",
        type=int,
        default=1,
        help="of each model, on each GPU; with --python-only on the first GPU (default: %(default)s)",
    )
    parser.add_argument(
        "--max-batch", type=int, help=f"images in a batch (default: {MAX_BATCH}, or less where plans take less)"
    )
    parser.add_argument(
        "--max-queue",
        type=int,
        default=64,
        help="images that wait at an instance; more are refused (default: %(default)s)",
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
    print(f"serve it: tritonserver --model-repository {options.out} (docs/serving.md)", file=sys.stderr)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), serve, arguments)
