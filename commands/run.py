"""sacvit-run: cameras, streams, videos and pictures through the two-stage chain.

More than 250 lines: one command; each function opens or checks one part of a run.
"""

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

from ..bundle.errors import EXIT_INTERRUPTED, UsageError
from ..machine.service_manager import HangUp, open_service_manager
from ..machine.terminal import terminal_safe
from ..profiles.beside_run.options import PowerOptions
from ..runtime.engines.options import EngineFiles, EngineOptions
from ..runtime.events.destinations.opening import placed_destination
from ..runtime.options import EventOptions, LoopOptions, SinkOptions, ThresholdOption, VideoOptions
from ..runtime.sources.frame import OpenOptions
from ..runtime.sources.opening import describe_kinds, open_sources, placed_source
from .config import add_config_options, in_folder, parse_options
from .frame import explain, new_parser, run_command
from .hints import require_effect
from .options import add_options, read_options
from .run_options import Asked, add_event_options, read_asked, require_events

if TYPE_CHECKING:
    from ..profiles.beside_run.run_power import RunPower
    from ..runtime.chain.pipeline import Pipeline
    from ..runtime.events.live_events import LiveEvents
    from ..runtime.loop import Outcome
    from ..runtime.sinks.sink import Sink
    from ..serving.client import RemotePipeline

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
    for kind in (ThresholdOption, EngineOptions, LoopOptions, OpenOptions, SinkOptions, EventOptions, VideoOptions):
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
    from ..runtime.events.live_events import LiveEvents
    from ..runtime.loop import run_chain  # here: --help answers without OpenCV and ONNX Runtime
    from ..runtime.sinks.opening import open_recorder, open_sinks
    from ..runtime.totals import summary_lines

    with ExitStack() as ends:
        # A source or an output that cannot be opened is reported before engines are loaded: on a board that takes seconds.
        with ExitStack() as unused:
            source = open_sources(options.camera, asked.opening)
            unused.callback(source.close)
            events = LiveEvents(asked.events, source, lambda rules: require_events(rules, asked.video, asked.sinks))
            if events.watcher is not None:
                unused.callback(events.watcher.close)
            recorder = open_recorder(asked.sinks, source, events.report_stop)
            if recorder is not None:
                unused.callback(recorder.close)
            power = open_power_reader(asked, len(options.camera))
            if power is not None:
                unused.callback(power.close)
            sinks = open_sinks(asked.sinks, source, power.line if power else lambda: None)
            for sink in sinks:
                unused.callback(sink.close)
            pipeline = open_server(options, ends) if options.engine is None else load_engines(options, asked)
            if options.fit is not None:
                pipeline.use_fit(options.fit)
            events.require_labels(pipeline.labels)
            if power is not None:
                power.begin(pipeline, options.server)
            unused.pop_all()
        sinks[:0] = [power] if power is not None else []  # a line has the power that is known with its frame
        if recorder is not None:  # before the events: a frame is recorded before its event is made
            sinks.append(recorder)
        events.join(sinks, None if recorder is None else recorder.keep_clip)
        between = serve(options, pipeline, events, sinks, hang_up)
        on_drift = events.watcher.report_drift if events.watcher is not None and events.watches_drift else None
        outcome = run_chain(pipeline, source, sinks, asked.loop, on_drift, between)  # closes the source and the sinks
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


def serve(
    options: argparse.Namespace,
    pipeline: Pipeline | RemotePipeline,
    events: LiveEvents,
    sinks: list[Sink],
    hang_up: HangUp | None,
) -> Callable[[], None] | None:
    """What the loop does between frames for a service manager and for a changed --config; None where there is neither.

    A service manager hears of the answers too: as the last of the sinks.
    """
    from ..runtime.reload import Reload, between_frames
    from ..runtime.sinks.service import ServiceSink

    manager = open_service_manager()
    service = None if manager is None else ServiceSink(manager)
    if service is not None:
        sinks.append(service)
    reload = None
    if hang_up is not None:
        words, as_read = options.from_file
        gate = pipeline.gate if options.server is None else None
        reload = Reload(hang_up, as_read, partial(read_again, words), gate, events, lambda fault: explain(fault)[1])
    return between_frames(service, reload)


def read_again(words: Sequence[str]) -> tuple[dict[str, Any], EventOptions]:
    """The options of the same command line, with the file as it is now, and the events that they ask for."""
    options = parse_options(build_parser(), words)
    return vars(options), read_asked(options).events


def open_power_reader(asked: Asked, cameras: int) -> RunPower | None:
    """What reads --power; None without it. Raises PowerError for a named source that does not answer."""
    if not asked.power.is_asked:
        return None
    from ..profiles.beside_run.run_power import RunPower

    return RunPower(asked.power, asked.loop, cameras)


def load_engines(options: argparse.Namespace, asked: Asked) -> Pipeline:
    """The chain of --engine, with a gate for video where an option asks for one."""
    from ..runtime.chain.live_gate import LiveGate
    from ..runtime.chain.pipeline import CHUNK, Pipeline

    pipeline = Pipeline.load(options.engine[0], options.engine[1], asked.threshold.threshold, options.provider)
    require_room(options, pipeline.ee.capacity or CHUNK, "these engines take")
    if asked.video:
        pipeline.gate = LiveGate(pipeline.threshold, video=asked.video)
    tell_about(pipeline, options.threshold)
    return pipeline


def open_server(options: argparse.Namespace, ends: ExitStack) -> RemotePipeline:
    """The chain of --server. ends: closes the connection."""
    from ..serving.client import RemotePipeline

    pipeline = RemotePipeline(options.server, options.threshold)
    ends.callback(pipeline.close)
    require_room(options, pipeline.max_batch, "this server takes")
    whose = "the server's" if options.threshold is None else "asked for"
    logger.info("threshold %g (%s), %s", pipeline.threshold, whose, options.server)
    return pipeline


def require_room(options: argparse.Namespace, most: int, who: str) -> None:
    """Raises UsageError for more images than `most`, which a pass of the chain takes."""
    if options.batch > most:
        raise UsageError(f"--batch {options.batch}: {who} at most {most} images per pass")
    if len(options.camera) > most:
        raise UsageError(f"{len(options.camera)} cameras: {who} at most {most} images per pass")


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


def tell_about(pipeline: Pipeline, given: float | None) -> None:
    """Logs the backend and the threshold before the first result, and warns of a threshold that was not fitted."""

    ee, sac = pipeline.ee.record, pipeline.sac.record
    kind = ee.precision if ee.precision == sac.precision else f"EE {ee.precision}, SAC {sac.precision}"
    tuned = pipeline.tuned
    told = "" if given is not None or ee.threshold_fp32 is None or tuned else f" (FP32: {ee.threshold_fp32:g})"
    if tuned is not None:
        told = (
            f" (tuned: {tuned.point}; temperature {tuned.temperature:g})"
            if given is None
            else f", temperature {tuned.temperature:g}"
        )
    logger.info("threshold %g%s, %s, %s", pipeline.threshold, told, kind, pipeline.ee.backend)
    if given is None and tuned is None and pipeline.ee.record.threshold_source == "default":
        logger.warning("the threshold %g is a default, not fitted to this model: set --threshold", pipeline.threshold)


def main(arguments: Sequence[str] | None = None) -> int:
    code = run_command(build_parser(), run, arguments)
    if any(thread.name.startswith("camera-") for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # a normal end would abort while a thread hangs in a camera's driver
    return code
