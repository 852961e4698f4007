"""The options of sacvit-run that say what is an event and where events go."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..bundle.errors import UsageError
from ..runtime.events.destinations.opening import describe_kinds
from ..runtime.events.grammar import NAMES, WORDS
from ..runtime.options import SinkOptions, VideoOptions
from .options import group_of

if TYPE_CHECKING:
    from ..runtime.events.watcher import Watcher


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


def require_events(watcher: Watcher, video: VideoOptions, sinks: SinkOptions) -> None:
    """Raises UsageError for an event that cannot happen in this run."""
    for name, needed, is_given in (
        ("degraded", "--deadline-ms", video.deadline_ms is not None),
        ("recording-stopped", "--save DIR/", sinks.folder is not None),
    ):
        if watcher.watches(name) and not is_given:
            raise UsageError(f"--on {name} needs {needed}: without it there is no such event")
