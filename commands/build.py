"""sacvit-build: the fastest engine of a bundle on this machine is chosen, or engines are built for one library."""

from __future__ import annotations

import argparse
import json
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ..bundle.errors import UsageError
from ..export.choice.request import ChoiceRequest
from .frame import new_parser, run_command
from .options import add_options, read_options

logger = logging.getLogger(__name__)


def build_parser() -> argparse.ArgumentParser:
    about = (
        "Find the fastest engine for a bundle on this machine. Every backend and precision is tried, checked against the"
        " answers that the export stored, and timed by turns; plans of TensorRT are built on the way. The choice is written to"
        " engines.json, which --engine DIR reads. With --target, build the engines of one library alone."
    )
    parser = new_parser("sacvit-build", about)
    parser.add_argument("folder", type=Path, metavar="DIR", help="the bundle: what sacvit-export wrote")
    parser.add_argument("--out", type=Path, help="with --target: folder of the engines (default: DIR)")
    add_options(parser, ChoiceRequest)
    parser.add_argument("--json", action="store_true", help="print what was found as one JSON object")
    return parser


def build_command(options: argparse.Namespace) -> int:
    request = read_options(ChoiceRequest, options, report=logger.info)
    if request.library is not None or request.targets is not None:
        for name, value in (("--only", request.only), ("--budget-s", request.budget_s)):
            if value is not None:
                raise UsageError(
                    f"{name} is for comparing engines, and --target compares nothing. Leave one of them out"
                )
        return build_alone(options, request)
    if options.out is not None:
        raise UsageError(
            "--out goes with --target. A choice is written into the bundle; copy the bundle to have another"
        )
    return choose_command(options, request)


def choose_command(options: argparse.Namespace, request: ChoiceRequest) -> int:
    """Tries every candidate, and prints the table."""
    from ..bundle.records import encode_record
    from ..export.choice.choose import choose_engine  # here: --help answers at once
    from ..export.choice.table import Screen, reason_lines, table_lines
    from ..runtime.engines.choice import CHOICE_NAME

    with Screen() as screen:
        choice = choose_engine(options.folder, request, screen.show)
    if options.json:
        print(encode_record(choice).decode(), end="")
    else:
        print("\n".join([*table_lines(choice.candidates, choice), *reason_lines(choice)]))
    logger.info("written: %s. Next: sacvit-run --engine %s --camera 0", options.folder / CHOICE_NAME, options.folder)
    return 0


def build_alone(options: argparse.Namespace, request: ChoiceRequest) -> int:
    """Builds the engines of one library, and checks them where that is possible."""
    from ..export.plans.build import build

    plans = build(options.folder, options.out, request)
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
