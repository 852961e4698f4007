"""sacvit-build: on the device that runs them, a bundle's graphs become TensorRT plans."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ..bundle.errors import UsageError
from .frame import new_parser, run_command


def build_parser() -> argparse.ArgumentParser:
    about = (
        "Build ee.plan and sac.plan from a bundle, on the device that will run them, and check them against the answers"
        " that the export stored. What fails its check is built another way, down to FP32."
    )
    parser = new_parser("sacvit-build", about)
    parser.add_argument("folder", type=Path, metavar="DIR", help="the bundle: what sacvit-export wrote")
    parser.add_argument("--out", type=Path, help="folder of the plans (default: DIR)")
    parser.add_argument(
        "--precision", choices=("int8", "fp16", "fp32"), help="default: the lowest that the bundle was exported in"
    )
    parser.add_argument(
        "--batch", metavar="N[,N...]", help="images a pass, as in 1,8,32 (default: 1, or what the graphs are fixed to)"
    )
    parser.add_argument(
        "--workspace-mib",
        type=int,
        help="TensorRT's scratch while it builds (default: a quarter of what is free, <= 1024)",
    )
    parser.add_argument(
        "--builder-optimization-level",
        type=int,
        metavar="0..5",
        help="TensorRT's; more is slower to build (default: 3)",
    )
    parser.add_argument("--timing-cache", type=Path, metavar="FILE", help="kernel times of earlier builds, kept there")
    parser.add_argument("--json", action="store_true", help="print what was built as one JSON object")
    return parser


def build_command(options: argparse.Namespace) -> int:
    from ..export.plans.build import build  # here: --help answers at once

    plans = build(
        options.folder,
        options.out,
        wanted=options.precision,
        batches=read_batches(options.batch),
        workspace_mib=options.workspace_mib,
        level=options.builder_optimization_level,
        timing_cache=options.timing_cache,
        report=lambda line: print(line, file=sys.stderr),
    )
    print(f"built and checked in {plans.duration_s:.0f} s", file=sys.stderr)
    print(f"next: sacvit-run --engine {plans.ee} {plans.sac} --camera 0", file=sys.stderr)
    if options.json:
        stages = {
            outcome.stage: {
                "rung": outcome.rung.name,
                "latency_ms": outcome.latency_ms,
                "mean_logit_error": outcome.logit_error,
                "tried": outcome.tried,
            }
            for outcome in plans.outcomes
        }
        print(json.dumps({"ee": str(plans.ee), "sac": str(plans.sac), "machine": asdict(plans.machine), **stages}))
    else:
        print(plans.ee.parent)
    return 0


def read_batches(text: str | None) -> tuple[int, ...] | None:
    """The numbers of a text like 1,8,32."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--batch takes numbers with commas between them, as in 1,8,32; found {text!r}") from None


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), build_command, arguments)
