"""sacvit-profile: measures the time and energy of a run and the machine's state, and estimates other boards."""

from __future__ import annotations

import argparse
import json
import logging
import platform
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..bundle.errors import EXIT_INTERRUPTED, ConfigError, EngineError, UsageError
from ..machine.terminal import terminal_safe
from ..profiles.request import OUT, ProfileRequest
from ..runtime.engines.given_paths import quoted
from ..runtime.sources.address import without_password
from .frame import new_parser, run_command
from .hints import EXAMPLES, require_effect
from .options import add_options, group_of, read_options

if TYPE_CHECKING:
    from ..profiles.results.profile_shape import Profile

logger = logging.getLogger(__name__)


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser(
        "sacvit-profile", "Latency by path, energy by rail, and the state of the machine that they were measured on."
    )
    add_options(parser, ProfileRequest, {"engine": None})
    out = group_of(parser, OUT)
    out.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="Write profile.json, its samples and, where sacvit[report] is installed, report.html here; a second call"
        " goes on.",
    )
    out.add_argument("--json", action="store_true", help="Print the result as JSON instead of the summary.")
    other = parser.add_argument_group("without measuring")
    other.add_argument(
        "--estimate",
        metavar="BOARD",
        help="Print a bound for a board that is not here: orin-nano-8gb, or with its mode orin-nano-8gb:15W.",
    )
    return parser


def profile(options: argparse.Namespace) -> int:
    if options.engine is None:
        example = EXAMPLES["sacvit-profile"]
        if options.estimate is not None:  # the geometry is read from the engines
            example = f"sacvit-profile --engine build/ee.onnx build/sac.onnx --estimate {quoted(options.estimate)}"
        raise UsageError(f"give the engines with --engine EE SAC. For example: {example}")
    if options.estimate is None:
        return measure(options)
    require_effect(build_parser(), options, "--estimate", ("engine", "batch", "json"))
    return estimate(options)


def measure(options: argparse.Namespace) -> int:
    from ..bundle.files import require_writable

    command = shlex.join(["sacvit-profile", *map(without_password, sys.argv[1:])])
    request = read_options(ProfileRequest, options, command=command)
    if request.export_times is not None:
        require_writable(request.export_times, "--export-times", ".json")
    from ..bundle.folders import locked_folder
    from ..machine.progress import Progress
    from ..profiles.profile import profile_pair
    from ..profiles.reports.text import summary_lines
    from ..profiles.results.result import summarise
    from ..profiles.results.result_files import PROFILE_NAME, write_result

    interrupted = False
    with (
        tempfile.TemporaryDirectory(prefix="sacvit-") as temporary,
        locked_folder(options.out or Path(temporary)) as folder,
        Progress("measure", unit="window") as progress,
    ):

        def report(what: str, duration_s: float) -> None:
            progress.step(note=f"{what}, {duration_s:.1f} s")

        try:
            store = profile_pair(request, folder, report, logger.info)
        except KeyboardInterrupt:
            from ..profiles.timing.store import read_store

            interrupted = True
            found = read_store(folder)
            if found is None or not found.of("window"):
                raise
            store = found
            logger.info("interrupted: what follows is of the windows that were measured")
        progress.close()
        result = summarise(store)
        result |= {"host": platform.node(), "top1": tuned_top1(options.engine[0], result["stored_threshold"])}
        if options.out is not None:
            write_result(result, folder / PROFILE_NAME)
            logger.info("written: %s", folder / PROFILE_NAME)
            logger.info("%s", write_page(folder))
        else:
            logger.info("nothing was kept. For the page and every sample, call it again with --out profile")
        print(
            json.dumps(result, indent=1)
            if options.json
            else "\n".join(map(terminal_safe, summary_lines(cast("Profile", result))))
        )
    return EXIT_INTERRUPTED if interrupted else 0


def write_page(folder: Path) -> str:
    """Writes the page of the run where this machine can make one; returns a line for the user."""
    from ..profiles.reports.page import missing_extra
    from ..profiles.reports.profile_page import REPORT_NAME, write_profile_page

    if missing_extra() is not None:
        return f"for the page, on any machine with sacvit[report]: sacvit-report {shlex.quote(str(folder))}"
    write_profile_page(folder, folder / REPORT_NAME)
    return f"written: {folder / REPORT_NAME}"


def tuned_top1(engine: Path, threshold: float) -> dict[str, Any] | None:
    """What sacvit-tune found for this engine at this threshold, from the manifest beside it; None where it was not tuned."""
    from ..bundle.stored_gate import own_manifest
    from ..runtime.engines.backends import read_record

    record = read_record(engine)
    try:
        entry = own_manifest(engine, record).tuned.get(record.precision)
    except UsageError:
        return None
    if entry is None or entry.threshold != threshold or "top1" not in entry.report:
        return None
    return {"value": entry.report["top1"], "threshold": threshold, "data": entry.data.get("report")}


def estimate(options: argparse.Namespace) -> int:
    from ..bundle.manifest import MANIFEST_NAME, read_manifest
    from ..model.config import ModelConfig
    from ..model.cost import DERIVED_EXIT_RATE, count_cost
    from ..profiles.estimates.boards import find_board
    from ..profiles.estimates.roofline import estimate as estimate_pair
    from ..profiles.estimates.roofline import kernels_of
    from ..profiles.estimates.text import estimate_lines
    from ..runtime.engines.backends import read_record

    name, _, mode = options.estimate.partition(":")
    board = find_board(name)
    record = read_record(options.engine[0])
    try:
        config = ModelConfig.from_dict(record.config)
    except ConfigError as reason:
        raise EngineError(f"{options.engine[0]} has a damaged sacvit record: {reason}. Export it again") from None
    folder = options.engine[0].parent
    compiled = read_manifest(folder).compiled if (folder / MANIFEST_NAME).is_file() else []
    found = estimate_pair(
        count_cost(config),
        board,
        board.mode(mode or None),
        record.precision,
        options.batch or 1,
        DERIVED_EXIT_RATE,
        kernels_of(compiled, record.precision),
    )
    print(json.dumps(found.to_json(), indent=1) if options.json else "\n".join(estimate_lines(found)))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), profile, arguments)
