"""sacvit-profile: what a run costs. So far: what a tegrastats log says."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..bundle.command import new_parser, run_command


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser("sacvit-profile", "Read a log of NVIDIA's tegrastats, of any JetPack from 3 to 7.2.")
    parser.add_argument("--tegrastats-log", type=Path, metavar="FILE", required=True, help="what tegrastats printed")
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of the summary")
    return parser


def profile(options: argparse.Namespace) -> int:
    from .tegrastats_log import json_lines, read_log, summary_lines

    samples = read_log(options.tegrastats_log)
    for line in json_lines(options.tegrastats_log, samples) if options.json else summary_lines(samples):
        print(line)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), profile, arguments)
