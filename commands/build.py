"""sacvit-build: a bundle's graphs become TensorRT plans on the device, or, anywhere, engines for several kinds of RTX GPUs."""

from __future__ import annotations

import argparse
import json
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ..export.plans.request import BuildRequest
from .frame import new_parser, run_command
from .options import add_options, read_options

logger = logging.getLogger(__name__)


def build_parser() -> argparse.ArgumentParser:
    about = (
        "Build ee.plan and sac.plan from a bundle, on the device that will run them, and check them against the answers"
        " that the export stored. What fails its check is built another way, down to FP32. With --target rtx, build ee.rtx"
        " and sac.rtx for TensorRT for RTX, on any machine and for several GPUs at once."
    )
    parser = new_parser("sacvit-build", about)
    parser.add_argument("folder", type=Path, metavar="DIR", help="the bundle: what sacvit-export wrote")
    parser.add_argument("--out", type=Path, help="folder of the plans (default: DIR)")
    add_options(parser, BuildRequest)
    parser.add_argument("--json", action="store_true", help="print what was built as one JSON object")
    return parser


def build_command(options: argparse.Namespace) -> int:
    from ..export.plans.build import build  # here: --help answers at once

    plans = build(options.folder, options.out, read_options(BuildRequest, options, report=logger.info))
    logger.info("done in %.0f s", plans.duration_s)
    logger.info("next: sacvit-run --engine %s %s --camera 0", plans.ee, plans.sac)
    if options.json:
        stages = {
            outcome.stage: {
                "rung": outcome.rung.name,
                "latency_ms": outcome.latency_ms,
                "mean_logit_error": None if math.isnan(outcome.logit_error) else outcome.logit_error,
                "tried": outcome.tried,
            }
            for outcome in plans.outcomes
        }
        print(json.dumps({"ee": str(plans.ee), "sac": str(plans.sac), "machine": asdict(plans.machine), **stages}))
    else:
        print(plans.ee.parent)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), build_command, arguments)
