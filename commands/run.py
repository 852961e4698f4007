"""sacvit-run: cameras, streams, videos and pictures through the two-stage chain.

More than 250 lines: one command; each function opens or checks one part of a run.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..bundle.errors import EXIT_INTERRUPTED, UsageError
from ..machine.terminal import terminal_safe
from ..profiles.beside_run.options import PowerOptions
from ..runtime.engines.options import EngineFiles, EngineOptions
from ..runtime.events.destinations.opening import placed_destination
from ..runtime.options import EventOptions, LoopOptions, SinkOptions, ThresholdOption, VideoOptions
from ..runtime.sources.frame import OpenOptions
from ..runtime.sources.opening import describe_kinds, open_sources, placed_source
from .config import add_config_options, in_folder
from .events import add_event_options, require_events
from .frame import new_parser, run_command
from .hints import EXAMPLES, require_effect
from .options import add_options, read_options

if TYPE_CHECKING:
    from pathlib import Path

    from ..profiles.beside_run.run_power import RunPower
    from ..runtime.chain.pipeline import Pipeline
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
    if (options.engine is None) == (options.server is None) or options.camera is None:
        raise UsageError(
            "give either --engine EE SAC or --server URL, and --camera SOURCE: 0 for the first camera, a video, a picture, a"
            f" folder of pictures or rtsp://... For example: {EXAMPLES['sacvit-run']}"
        )
    asked = Asked(
        read_options(ThresholdOption, options),
        read_options(LoopOptions, options),
        read_options(OpenOptions, options),
        read_options(SinkOptions, options),
        read_options(VideoOptions, options),
        read_options(EventOptions, options, on=tuple(options.on or ()), to=tuple(options.to or ())),
        read_options(PowerOptions, options),
    )
    require_possible(options, asked)
    from ..runtime.events.opening import open_watcher
    from ..runtime.loop import run_chain  # here: --help answers without OpenCV and ONNX Runtime
    from ..runtime.sinks.opening import open_recorder, open_sinks
    from ..runtime.totals import summary_lines

    with ExitStack() as ends:
        # A source or an output that cannot be opened is reported before engines are loaded: on a board that takes seconds.
        with ExitStack() as unused:
            source = open_sources(options.camera, asked.opening)
            unused.callback(source.close)
            watcher = open_watcher(asked.events, source.live)
            if watcher is not None:
                unused.callback(watcher.close)
                require_events(watcher, asked.video, asked.sinks)
                source.report_losses(watcher.report_loss)
            recorder = open_recorder(asked.sinks, source, watcher.report_stop if watcher else ignore)
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
            if watcher is not None:
                for rule in watcher.rules:
                    rule.require_labels(pipeline.labels)
                watcher.keep_clip = None if recorder is None else recorder.keep_clip
            if power is not None:
                power.begin(pipeline, options.server)
            unused.pop_all()
        sinks[:0] = [power] if power is not None else []  # a line has the power that is known with its frame
        # A frame is recorded before its event is made.
        sinks += [sink for sink in (recorder, watcher) if sink is not None]
        on_drift = watcher.report_drift if watcher is not None and watcher.watches("drift") else None
        outcome = run_chain(pipeline, source, sinks, asked.loop, on_drift)  # which closes the source and the sinks
    lines = summary_lines(outcome.summary)
    if power is not None:
        outcome.summary["power"] = power.summary()
        lines += power.lines()
    for line in lines:
        logger.info(line)
    for fault in outcome.faults:
        logger.error(fault)
    if not outcome.summary["frames"] and asked.sinks.files:
        logger.error("no frame came: nothing was saved")
    return EXIT_INTERRUPTED if outcome.interrupted else 1 if outcome.faults else 0


@dataclass(frozen=True)
class Asked:
    """What the options ask for beside engines and sources; their numbers lie within bounds."""

    threshold: ThresholdOption
    loop: LoopOptions
    opening: OpenOptions
    sinks: SinkOptions
    video: VideoOptions
    events: EventOptions
    power: PowerOptions


def require_possible(options: argparse.Namespace, asked: Asked) -> None:
    """Raises UsageError for options that cannot be meant together, before anything is opened."""
    if options.server is not None:
        for name in ("overlap", "deadline_ms", "hysteresis", "shadow"):
            if getattr(options, name):
                raise UsageError(
                    f"--{name.replace('_', '-')} needs engines here: with --server the gate is the server's"
                )
        if options.provider != "auto":
            raise UsageError("--provider is for engines here: with --server the server chooses")
    if asked.video.deadline_ms is not None and asked.loop.overlap:
        raise UsageError("--deadline-ms and --overlap: overlapping passes answer one batch late; choose one")
    if len(options.camera) > 1 and asked.loop.batch != 1:
        raise UsageError("--batch: with several cameras a pass takes one frame of each; leave it out")
    if len(options.camera) > 1 and asked.sinks.clip is not None:
        raise UsageError("--save: with several cameras, give a folder: --save DIR/")
    if asked.sinks.clip_s is not None and not asked.events.on:
        raise UsageError("--clip-s writes clips around events: say with --on what is an event")
    keep_inputs(options, {**asked.sinks.files, **asked.power.files}, asked.sinks.folder)


def ignore(reason: str) -> None:
    """For a run without events."""


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


def keep_inputs(options: argparse.Namespace, files: dict[str, Path], folder: Path | None) -> None:
    """Raises UsageError when an output would take the place of an input, or of the other output."""
    from ..runtime.sources.files import files_of

    inputs = {path.resolve(): "--camera" for spec in options.camera for path in files_of(spec)}
    inputs |= {path.resolve(): "--engine" for path in options.engine or ()}
    for option, path in files.items():
        if path.resolve() in inputs:
            raise UsageError(f"{option} {path} would overwrite what {inputs[path.resolve()]} reads; give another name")
    if folder is not None and folder.resolve() in {path.parent for path in inputs}:
        raise UsageError(f"--save {folder} holds files that this run reads; give another folder")


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
