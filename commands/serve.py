"""sacvit-serve: writes a model repository for Triton from a pair of engines."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from ..bundle.errors import UsageError
from ..runtime.engines.options import EngineFiles
from ..runtime.options import ThresholdOption
from ..serving.options import ServeOptions
from .frame import new_parser, run_command
from .options import add_options, read_options

logger = logging.getLogger(__name__)


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser("sacvit-serve", "Write a model repository for Triton: the gate, and the two stages behind it.")
    add_options(parser, EngineFiles)
    parser.add_argument(
        "--out", type=Path, default=Path("models"), help="Write the repository here (default: %(default)s)."
    )
    add_options(parser, ThresholdOption)
    add_options(parser, ServeOptions)
    return parser


def serve(options: argparse.Namespace) -> int:
    from ..bundle.folders import locked_folder
    from ..runtime.chain.pipeline import Pipeline
    from ..runtime.engines.backends import backend_of, require_classifier
    from ..serving.repository import require_free, write_repository

    how, threshold = read_options(ServeOptions, options), read_options(ThresholdOption, options).threshold
    ee, sac = options.engine
    needs_gpu = backend_of(ee).needs_gpu
    if needs_gpu and how.device == "cpu":
        raise UsageError(f"--device cpu: {ee.suffix} engines run on a GPU; give the .onnx files")
    require_classifier(ee, "sacvit-serve")
    with locked_folder(options.out):
        require_free(options.out)  # before engines are loaded
        pipeline = Pipeline.load(ee, sac, threshold, "auto" if needs_gpu else "cpu")
        if pipeline.tuned is not None and pipeline.tuned.sacs:
            raise UsageError(
                f"the gate that sacvit-tune stored for {ee.name} sends images to SACs of several alphas, and Triton gets one."
                f" Tune these engines without --alpha, or give the SAC file of one alpha by its name"
            )
        for folder in write_repository(pipeline, options.out, how):
            print(folder)
    logger.info("Serve it: tritonserver --model-repository %s (docs/serving.md)", options.out)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), serve, arguments)
