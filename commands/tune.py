"""sacvit-tune: accuracy, latency and energy of an engine pair over the threshold, and a threshold with a bounded loss."""

from __future__ import annotations

import argparse
import json
import logging
import platform
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ..bundle.errors import SacvitError, UsageError
from ..machine.terminal import terminal_safe
from ..profiles.tuning.request import TuneRequest
from .frame import new_parser, run_command
from .options import add_options, read_options

if TYPE_CHECKING:
    from ..profiles.results.tune_shape import Tune
    from ..profiles.tuning.tune import Tuning
    from ..runtime.chain.pipeline import Pipeline

logger = logging.getLogger(__name__)


def build_parser() -> argparse.ArgumentParser:
    about = (
        "Run both stages once on every labelled image, draw accuracy, time and energy over eta, fit a temperature and eta on"
        " one half and report on the other. --point, --min-top1, --max-ms or --exit-rate store the gate in the manifest."
    )
    parser = new_parser("sacvit-tune", about)
    add_options(parser, TuneRequest)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("tuned"),
        metavar="DIR",
        help="Write tune.json, the answers and, where sacvit[report] is installed, tune.html here (default: %(default)s).",
    )
    parser.add_argument("--json", action="store_true", help="Print the result as JSON instead of the table.")
    return parser


def tune_command(options: argparse.Namespace) -> int:
    from ..bundle.folders import locked_folder

    with locked_folder(options.out):
        return tune_into(options)


def tune_into(options: argparse.Namespace) -> int:
    """Runs into an output folder that no other command writes to."""
    from ..bundle.files import require_folder
    from ..bundle.stored_gate import own_manifest
    from ..machine.progress import Progress
    from ..profiles.reports.tune_text import summary_lines
    from ..profiles.tuning.rules import rule_of
    from ..profiles.tuning.tune import tune
    from ..runtime.chain.pipeline import CHUNK, Pipeline

    request = read_options(TuneRequest, options)
    require_inputs(request)
    pipeline = Pipeline.load(*request.engine, provider=request.provider)
    most = pipeline.ee.capacity or CHUNK
    if request.batch > most:
        raise UsageError(f"--batch {request.batch}: these engines take 1 to {most} images per pass")
    if rule_of(request) is not None:
        own_manifest(request.engine[0], pipeline.ee.record)  # before minutes of work
        require_folder(request.engine[0].parent, "--engine")
    with Progress("answer", unit="image") as progress:
        found = tune(pipeline, request, options.out, progress=progress.reach, report=logger.info)
    found.result.update(
        model=dict(pipeline.ee.record.config), date=time.strftime("%Y-%m-%dT%H:%M:%S%z"), host=platform.node()
    )
    write_files(pipeline, found, options.out)
    store_gate(pipeline, found, options)
    logger.info(write_page(options.out))
    lines = (
        [json.dumps(found.result, indent=1)]
        if options.json
        else map(terminal_safe, summary_lines(cast("Tune", found.result)))
    )
    print("\n".join(lines))
    return 0


def require_inputs(request: TuneRequest) -> None:
    """Raises an error for a path that is missing, before engines are loaded."""
    from ..images.class_names import read_class_names
    from ..images.data_set import layout_of
    from ..profiles.results.result_files import read_profile
    from ..profiles.timing.plain import require_plain
    from ..runtime.engines.backends import require_classifier

    require_classifier(request.engine[0], "sacvit-tune")
    for path, option in ((request.data, "--data"), (request.report_data, "--report-data")):
        if path is not None:
            layout_of(path, option)
    if request.labels is not None:
        read_class_names(request.labels, "--labels")
    if request.plain is not None:
        require_plain(request.plain)
        require_classifier(request.plain, "sacvit-tune --plain")
    if request.profile is not None:
        read_profile(request.profile)


def write_files(pipeline: Pipeline, found: Tuning, out: Path) -> None:
    from ..profiles.results.result_files import THUMBNAILS_NAME, TUNE_NAME, write_result
    from ..profiles.tuning.mistakes import write_thumbnails

    with told_when_full(out / TUNE_NAME, out):
        write_result(found.result, out / TUNE_NAME)
    with told_when_full(out / THUMBNAILS_NAME, out):
        write_thumbnails(pipeline, found.mistakes, out / THUMBNAILS_NAME)
    logger.info("written: %s, %s", out / TUNE_NAME, out / THUMBNAILS_NAME)


def store_gate(pipeline: Pipeline, found: Tuning, options: argparse.Namespace) -> None:
    """Writes the chosen threshold and temperature into the manifest beside the engines."""
    from msgspec.structs import replace

    from ..bundle.manifest import MANIFEST_NAME
    from ..bundle.stored_gate import write_tuned
    from ..profiles.reports.tune_text import promise_line
    from ..runtime.chain.describe import describe_sacs

    if found.chosen is None:
        logger.info("nothing was stored: choose with --point, --min-top1, --max-ms or --exit-rate")
        return
    point = found.result["points"][found.chosen.point]
    report, promise = found.chosen.report or point["report"], point["promise"]
    if found.chosen.report:  # of --alpha, which may have chosen another SAC
        promise = found.chosen.promise
    if promise is not None and not promise["is_kept"]:
        logger.warning(promise_line(found.chosen.point, promise))
    with told_when_full(options.engine[0].parent / MANIFEST_NAME, options.out):
        entry = replace(
            found.chosen,
            points={name: one["eta"] for name, one in found.result["points"].items()},
            data=found.result["data"],
            report=report,
            promise=promise,
        )
        path = write_tuned(options.engine[0], pipeline.ee.record, entry)
    gate = found.chosen
    sacs = f", {describe_sacs(gate)}" if gate.sacs else ""
    logger.info("stored in %s: threshold %g, temperature %g%s", path, gate.threshold, gate.temperature, sacs)


def write_page(out: Path) -> str:
    """Writes the page of the run where this machine can make one; returns a line for the user."""
    from ..profiles.reports.page import missing_extra
    from ..profiles.reports.tune_page import PAGE_NAME, write_tune_page

    if missing_extra() is not None:
        return f"for the page, on any machine with sacvit[report]: sacvit-report {shlex.quote(str(out))}"
    with told_when_full(out / PAGE_NAME, out):
        write_tune_page(out, out / PAGE_NAME)
    return f"written: {out / PAGE_NAME}"


@contextmanager
def told_when_full(path: Path, out: Path) -> Iterator[None]:
    """Reports a file that cannot be written by its name, and that the passes need not be run again."""
    try:
        yield
    except OSError as reason:
        raise SacvitError(
            f"{path} cannot be written: {reason.strerror or reason}. What stood there before still does, and the answers"
            f" are kept in {out / 'answers'}: make room, and call it again"
        ) from None


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), tune_command, arguments)
