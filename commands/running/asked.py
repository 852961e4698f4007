"""The options of sacvit-run, typed, and which of them cannot be meant together."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...bundle.errors import UsageError
from ...profiles.beside_run.options import PowerOptions
from ...runtime.events.destinations.opening import describe_kinds
from ...runtime.events.grammar import NAMES, WORDS
from ...runtime.options import EventOptions, LoopOptions, SinkOptions, ThresholdOption, VideoOptions, WebOptions
from ...runtime.sources.frame import OpenOptions
from ..hints import EXAMPLES
from ..options import group_of, read_options

if TYPE_CHECKING:
    from ...runtime.events.grammar import Rule


def add_event_options(parser: argparse.ArgumentParser) -> None:
    """Adds --on and --to, which may be given several times, to the options of `EventOptions`."""
    events = group_of(parser, "events")
    events.add_argument(
        "--on",
        metavar="EXPR",
        action="append",
        help="Make an event when a camera's answers begin to fit EXPR, as 'label=nut confidence>=0.9 for 3 frames'. Words:"
        f" {', '.join(WORDS)}. Other events: {', '.join(NAMES)}. May be given several times.",
    )
    events.add_argument(
        "--to",
        metavar="DESTINATION",
        action="append",
        help=f"Send events there (default: stdout). May be given several times. {describe_kinds()}.",
    )


def require_events(rules: Sequence[Rule], video: VideoOptions, sinks: SinkOptions) -> None:
    """Raises UsageError for an event that cannot happen in this run."""
    for name, needed, is_given in (
        ("degraded", "--deadline-ms", video.deadline_ms is not None),
        ("recording-stopped", "--save DIR/", sinks.folder is not None),
    ):
        if any(rule.name == name for rule in rules) and not is_given:
            raise UsageError(f"--on {name} needs {needed}: without it there is no such event")


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
    web: WebOptions


def read_asked(options: argparse.Namespace) -> Asked:
    """Raises UsageError for options that are wrong or cannot be meant together, before anything is opened."""
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
        read_options(WebOptions, options),
    )
    require_possible(options, asked)
    return asked


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
        if options.device is not None:
            raise UsageError("--device is for engines here: with --server the server chooses")
    if asked.video.deadline_ms is not None and asked.loop.overlap:
        raise UsageError("--deadline-ms and --overlap: overlapping passes answer one batch late; choose one")
    if len(options.camera) > 1 and asked.loop.batch != 1:
        raise UsageError("--batch: with several cameras a pass takes one frame of each; leave it out")
    if len(options.camera) > 1 and asked.sinks.clip is not None:
        raise UsageError("--save: with several cameras, give a folder: --save DIR/")
    if asked.sinks.clip_s is not None and not asked.events.on:
        raise UsageError("--clip-s writes clips around events: say with --on what is an event")
    keep_inputs(options, {**asked.sinks.files, **asked.power.files}, asked.sinks.folder)


def keep_inputs(options: argparse.Namespace, files: dict[str, Path], folder: Path | None) -> None:
    """Raises UsageError when an output would take the place of an input, or of the other output."""
    from ...runtime.sources.files import files_of

    inputs = {path.resolve(): "--camera" for spec in options.camera for path in files_of(spec)}
    inputs |= {path.resolve(): "--engine" for path in options.engine or ()}
    for option, path in files.items():
        if path.resolve() in inputs:
            raise UsageError(f"{option} {path} would overwrite what {inputs[path.resolve()]} reads; give another name")
    if folder is not None and folder.resolve() in {path.parent for path in inputs}:
        raise UsageError(f"--save {folder} holds files that this run reads; give another folder")
