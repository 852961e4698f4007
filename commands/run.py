"""sacvit-run: cameras, streams, videos and pictures through the two-stage chain."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from ..bundle.errors import EXIT_INTERRUPTED, UsageError
from ..machine.terminal import terminal_safe
from ..runtime.engines.options import EngineOptions
from .frame import new_parser, run_command, stop_on_signals
from .options import add_options

if TYPE_CHECKING:
    from ..runtime.chain.pipeline import Pipeline
    from ..runtime.sinks.sink import Sink
    from ..runtime.sources.frame import OpenOptions, Source
    from ..serving.client import RemotePipeline


def build_parser() -> argparse.ArgumentParser:
    from ..runtime.sources.frame import OPEN_TIMEOUT_S
    from ..runtime.sources.opening import describe_kinds

    parser = new_parser("sacvit-run", "Classify frames with a two-stage chain: EE first, SAC for those that need it.")
    parser.add_argument("--engine", type=Path, nargs=2, metavar=("EE", "SAC"), help="the two files of a bundle")
    parser.add_argument(
        "--server", metavar="URL", help="http://host:port of a Triton that serves them, instead (sacvit-serve)"
    )
    parser.add_argument(
        "--camera",
        metavar="SOURCE",
        action="append",
        help=f"Read frames from SOURCE. May be given several times. Sources: {describe_kinds()}.".replace("%", "%%"),
    )
    parser.add_argument("--threshold", type=float, help="eta in [0, 1] instead of the stored one")
    parser.add_argument("--fit", choices=("crop", "stretch"), help="how a frame becomes square (default: as exported)")
    parser.add_argument("--batch", type=int, default=1, help="frames a pass (default: %(default)s)")
    add_options(parser, EngineOptions)
    parser.add_argument(
        "--overlap",
        action="store_true",
        help="plans: EE of a batch beside SAC of the last; more frames a second, later",
    )
    live = parser.add_argument_group("video")
    live.add_argument(
        "--deadline-ms", type=float, metavar="MS", help="answer with EE's where SAC would be later than this"
    )
    live.add_argument(
        "--hysteresis",
        type=float,
        default=0.0,
        metavar="H",
        help="a stream keeps its path while doubt stays within 1 + H of 1 - eta, as 0.5",
    )
    live.add_argument(
        "--shadow", type=float, default=0.0, metavar="SHARE", help="SAC on this share of exits too: drift alarm"
    )
    parser.add_argument("--num-frames", type=int, help="stop after this many")
    parser.add_argument("--loop", action="store_true", help="start files over at their end")
    parser.add_argument("--json", action="store_true", help="one JSON object a frame instead of the table")
    parser.add_argument("--save", type=Path, metavar="OUT.mp4", help="write the frames with their overlay")
    parser.add_argument("--sheet", type=Path, metavar="SHEET.png", help="write a contact sheet of exits and SAC frames")
    parser.add_argument("--show", action="store_true", help="show the frames in a window; q quits")
    parser.add_argument("--check-camera", metavar="SOURCE", help="Report why a source gives no frame, and exit.")
    parser.add_argument(
        "--open-timeout-s",
        type=seconds,
        default=OPEN_TIMEOUT_S,
        metavar="S",
        help="Give up a camera whose first frame does not come within S seconds (default: %(default)g).",
    )
    parser.add_argument(
        "--stall-timeout-s",
        type=seconds,
        metavar="S",
        help="Open a camera again after S seconds without a frame (default: 3 times its longest recent gap, at least 1).",
    )
    return parser


def seconds(text: str) -> float:
    """A time limit above 0, for argparse."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no time above 0")
    return value


def run(options: argparse.Namespace) -> int:
    from ..images.opencv import silence_opencv

    silence_opencv()
    if options.check_camera is not None:
        return check_camera(options.check_camera, open_options(options))
    if (options.engine is None) == (options.server is None) or options.camera is None:
        raise UsageError("--engine EE SAC or --server URL, and --camera SOURCE are needed; see sacvit-run --help")
    for name in ("batch", "num_frames"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} must be at least 1, found {value}")
    from ..runtime.chain.pipeline import CHUNK, Pipeline  # here: --help answers without OpenCV and ONNX Runtime

    stop_on_signals()
    if options.server is not None:
        with closing(open_server(options)) as remote:
            return run_on(remote, remote.max_batch, "this server takes", options)
    pipeline = Pipeline.load(options.engine[0], options.engine[1], options.threshold, options.provider)
    return run_on(pipeline, pipeline.ee.capacity or CHUNK, "these engines take", options)


def run_on(pipeline: Pipeline | RemotePipeline, most: int, who: str, options: argparse.Namespace) -> int:
    """Sends every frame through a pipeline that takes `most` images per pass; returns the exit code."""
    from ..runtime.chain.pipeline import Pipeline
    from ..runtime.loop import run_chain
    from ..runtime.totals import summary_lines

    if options.fit is not None:
        pipeline.use_fit(options.fit)
    if options.batch > most:
        raise UsageError(f"--batch {options.batch}: {who} at most {most} images a pass")
    if isinstance(pipeline, Pipeline):
        use_policy(pipeline, options)
        tell_about(pipeline, options.threshold)
    keep_inputs(options)
    source = open_cameras(options, most)
    outcome = run_chain(
        pipeline,
        source,
        build_sinks(options, source),
        num_frames=options.num_frames,
        batch=options.batch,
        overlap=options.overlap,
    )
    for line in summary_lines(outcome.summary):
        print(line, file=sys.stderr)
    for fault in outcome.faults:
        print(terminal_safe(f"sacvit-run: fault: {fault}"), file=sys.stderr)
    if not outcome.summary["frames"] and (options.save or options.sheet):
        print("sacvit-run: no frame came: nothing was saved", file=sys.stderr)
    return EXIT_INTERRUPTED if outcome.interrupted else 1 if outcome.faults else 0


def open_server(options: argparse.Namespace) -> RemotePipeline:
    """The server's chain. Raises UsageError for options that only engines of one's own can follow."""
    for name in ("overlap", "deadline_ms", "hysteresis", "shadow"):
        if getattr(options, name):
            raise UsageError(f"--{name.replace('_', '-')} needs engines here: with --server the gate is the server's")
    if options.provider != "auto":
        raise UsageError("--provider is for engines here: with --server the server chooses")
    from ..serving.client import RemotePipeline

    pipeline = RemotePipeline(options.server, options.threshold)
    whose = "the server's" if options.threshold is None else "asked for"
    print(f"threshold {pipeline.threshold:g} ({whose}), {options.server}", file=sys.stderr)
    return pipeline


def use_policy(pipeline: Pipeline, options: argparse.Namespace) -> None:
    """A gate for video where an option asks for one. Raises UsageError for options that cannot be."""
    if options.deadline_ms is None and not options.hysteresis and not options.shadow:
        return
    if options.deadline_ms is not None and options.overlap:
        raise UsageError("--deadline-ms and --overlap: overlapping passes answer one batch late; choose one")
    from ..runtime.chain.live_gate import LiveGate

    pipeline.gate = LiveGate(
        pipeline.threshold,
        hysteresis=options.hysteresis,
        deadline_ms=options.deadline_ms,
        shadow=options.shadow,
    )


def open_cameras(options: argparse.Namespace, most: int) -> Source:
    """One source, or all of them as one."""
    from ..runtime.sources.opening import open_source

    specs = options.camera
    if len(specs) == 1:
        return open_source(specs[0], open_options(options))
    if len(specs) > most:
        raise UsageError(f"{len(specs)} cameras: a pass takes at most {most} images")
    if options.batch != 1:
        raise UsageError("--batch: with several cameras a pass takes one frame of each; leave it out")
    if options.save is not None:
        raise UsageError("--save: with several cameras, run one sacvit-run --save for each")
    from ..runtime.sources.address import without_password
    from ..runtime.sources.several import Several

    sources: list[Source] = []
    try:
        for spec in specs:
            sources.append(open_source(spec, open_options(options)))  # noqa: PERF401  # those that opened are closed
    except BaseException:
        for source in sources:
            source.close()
        raise
    return Several(sources, [without_password(spec) for spec in specs])


def build_sinks(options: argparse.Namespace, source: Source) -> list[Sink]:
    from ..runtime.sinks.clip import LIVE_FPS, PICTURES_FPS, ClipWriter
    from ..runtime.sinks.lines import JsonLines, Table
    from ..runtime.sinks.sheet import Sheet
    from ..runtime.sinks.window import Window

    sinks: list[Sink] = []
    if options.save is not None:
        fps = LIVE_FPS if source.live else source.fps or PICTURES_FPS
        sinks.append(ClipWriter(options.save, fps, source.live))
    if options.sheet is not None:
        sinks.append(Sheet(options.sheet))
    if options.show:
        sinks.append(Window())
    return [JsonLines() if options.json else Table(), *sinks]


def open_options(options: argparse.Namespace) -> OpenOptions:
    from ..runtime.sources.frame import OpenOptions

    return OpenOptions(options.loop, options.open_timeout_s, options.stall_timeout_s)


def check_camera(spec: str, how: OpenOptions) -> int:
    """Prints what was checked, ok or with its cure; 0 when all is well, 5 when something is in the way."""
    from ..runtime.sources.opening import diagnose

    faults = 0
    for finding, cure in diagnose(spec, how):
        print(terminal_safe(f"{'ok   ' if cure is None else 'FAULT'} {finding}"))
        if cure is not None:
            print(terminal_safe(f"      {cure}"))
            faults += 1
    return 5 if faults else 0


def keep_inputs(options: argparse.Namespace) -> None:
    """Raises UsageError when an output would take the place of an input, or of the other output."""
    from ..runtime.sources.files import files_of

    inputs = {path.resolve(): "--camera" for spec in options.camera for path in files_of(spec)}
    inputs |= {path.resolve(): "--engine" for path in options.engine or ()}
    for option, path in (("--save", options.save), ("--sheet", options.sheet)):
        if path is not None and path.resolve() in inputs:
            raise UsageError(f"{option} {path} would overwrite what {inputs[path.resolve()]} reads; give another name")


def tell_about(pipeline: Pipeline, given: float | None) -> None:
    """What a user should know before the first result: what runs it, and whether anybody fitted the threshold."""

    ee, sac = pipeline.ee.record, pipeline.sac.record
    kind = ee.precision if ee.precision == sac.precision else f"EE {ee.precision}, SAC {sac.precision}"
    tuned = pipeline.tuned
    told = "" if given is not None or ee.threshold_fp32 is None or tuned else f" (FP32: {ee.threshold_fp32:g})"
    if tuned is not None:
        told = (
            f" (tuned: {terminal_safe(tuned.point)}; temperature {tuned.temperature:g})"
            if given is None
            else f", temperature {tuned.temperature:g}"
        )
    print(f"threshold {pipeline.threshold:g}{told}, {kind}, {pipeline.ee.backend}", file=sys.stderr)
    if given is None and tuned is None and pipeline.ee.record.threshold_source == "default":
        print(
            f"the threshold {pipeline.threshold:g} is a default that nobody fitted to this model: set --threshold",
            file=sys.stderr,
        )


def main(arguments: Sequence[str] | None = None) -> int:
    code = run_command(build_parser(), run, arguments)
    if any(thread.name.startswith("camera-") for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # the interpreter's own end would abort under a thread that hangs in a camera's driver
    return code
