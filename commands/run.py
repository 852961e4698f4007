"""sacvit-run: cameras, streams, videos and pictures through the two-stage chain."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from ..bundle.errors import EXIT_INTERRUPTED
from ..machine.service_manager import HangUp, open_service_manager
from ..machine.terminal import terminal_safe
from ..profiles.beside_run.options import PowerOptions
from ..runtime.engines.options import EngineFiles, EngineOptions
from ..runtime.events.destinations.opening import placed_destination
from ..runtime.options import EventOptions, LoopOptions, SinkOptions, ThresholdOption, VideoOptions, WebOptions
from ..runtime.sources.frame import OpenOptions
from ..runtime.sources.opening import describe_kinds, placed_source
from .config import add_config_options, in_folder, parse_options
from .frame import explain, new_parser, run_command
from .hints import require_effect
from .options import add_options, read_options
from .running.asked import add_event_options, read_asked

if TYPE_CHECKING:
    from ..runtime.loop import Outcome
    from .running.parts import Parts

logger = logging.getLogger(__name__)


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser("sacvit-run", "Classify frames with a two-stage chain: EE first, SAC for those that need it.")
    add_options(parser, EngineFiles, {"engine": None})
    parser.add_argument("--server", metavar="URL", help="Use a Triton at http://host:port that serves them instead.")
    parser.add_argument(
        "--camera",
        metavar="SOURCE",
        action="append",
        help=f"Read frames from SOURCE. May be given several times. Sources: {describe_kinds()}.".replace("%", "%%"),
    )
    parser.add_argument("--fit", choices=("crop", "stretch"), help="Make a frame square so (default: as exported).")
    parser.add_argument("--check-camera", metavar="SOURCE", help="Report why a source gives no frame, and exit.")
    for kind in (
        ThresholdOption,
        EngineOptions,
        LoopOptions,
        OpenOptions,
        SinkOptions,
        EventOptions,
        VideoOptions,
        WebOptions,
    ):
        add_options(parser, kind)
    add_event_options(parser)
    add_options(parser, PowerOptions)
    add_config_options(parser, {"camera": placed_source, "save": in_folder, "to": placed_destination})
    return parser


def run(options: argparse.Namespace) -> int:
    if options.check_camera is not None:
        require_effect(build_parser(), options, "--check-camera", ("open_timeout_s", "stall_timeout_s"))
        return check_camera(options.check_camera, read_options(OpenOptions, options))
    hang_up = HangUp() if options.config else None
    asked = read_asked(options)
    from ..runtime.loop import run_chain  # here: --help answers without OpenCV and ONNX Runtime
    from ..runtime.totals import summary_lines
    from .running.parts import open_parts

    with ExitStack() as ends:
        parts = open_parts(options, asked, ends)
        between = serve(options, parts, hang_up)
        watcher, power = parts.events.watcher, parts.power
        on_drift = watcher.report_drift if watcher is not None and parts.events.watches_drift else None
        # This closes the source and the sinks.
        outcome = run_chain(parts.pipeline, parts.source, parts.sinks, asked.loop, on_drift, between)
    lines = summary_lines(outcome.summary)
    if power is not None:
        outcome.summary["power"] = power.summary()
        lines += power.lines()
    return report_end(outcome, lines, asked.sinks)


def report_end(outcome: Outcome, lines: Sequence[str], sinks: SinkOptions) -> int:
    """Logs how a run went; returns its exit code."""
    for line in lines:
        logger.info(line)
    for fault in outcome.faults:
        logger.error(fault)
    if not outcome.summary["frames"] and sinks.files:
        logger.error("no frame came: nothing was saved")
    return EXIT_INTERRUPTED if outcome.interrupted else 1 if outcome.faults else 0


def serve(options: argparse.Namespace, parts: Parts, hang_up: HangUp | None) -> Callable[[], None] | None:
    """What the loop does between frames for a service manager and for a changed --config; None where there is neither.

    A service manager hears of the answers too: as the last of the sinks.
    """
    from ..runtime.reload import Reload, between_frames
    from ..runtime.sinks.service import ServiceSink

    manager = open_service_manager()
    service = None if manager is None else ServiceSink(manager)
    if service is not None:
        parts.sinks.append(service)
    reload = None
    if hang_up is not None:
        words, as_read = options.from_file
        reload = Reload(
            hang_up, as_read, partial(read_again, words), parts.pipeline, parts.events, lambda fault: explain(fault)[1]
        )
    return between_frames(service, reload)


def read_again(words: Sequence[str]) -> tuple[dict[str, Any], EventOptions]:
    """The options of the same command line, with the file as it is now, and the events that they ask for."""
    options = parse_options(build_parser(), words)
    return vars(options), read_asked(options).events


def check_camera(spec: str, how: OpenOptions) -> int:
    """Prints each check with its result and, for a fault, the cure. Returns 0 without a fault, else 5."""
    from ..runtime.sources.opening import diagnose

    faults = 0
    for finding, cure in diagnose(spec, how):
        print(terminal_safe(f"{'ok   ' if cure is None else 'FAULT'} {finding}"))
        if cure is not None:
            print(terminal_safe(f"      {cure}"))
            faults += 1
    return 5 if faults else 0


def main(arguments: Sequence[str] | None = None) -> int:
    code = run_command(build_parser(), run, arguments)
    if any(thread.name.startswith("camera-") for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # a normal end would abort while a thread hangs in a camera's driver
    return code
