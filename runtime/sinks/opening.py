"""The sinks that a user asked for."""

from __future__ import annotations

from ..options import SinkOptions
from ..sources.frame import Source
from .clip import LIVE_FPS, PICTURES_FPS, ClipWriter
from .lines import JsonLines, Table
from .sheet import Sheet
from .sink import Sink
from .window import Window


def open_sinks(options: SinkOptions, source: Source) -> list[Sink]:
    """The sinks of a run over `source`, the terminal's lines first. Raises UsageError for files that cannot be written."""
    sinks: list[Sink] = [JsonLines() if options.json else Table()]
    if options.save is not None:
        fps = LIVE_FPS if source.live else source.fps or PICTURES_FPS
        sinks.append(ClipWriter(options.save, fps, source.live))
    if options.sheet is not None:
        sinks.append(Sheet(options.sheet))
    if options.show:
        sinks.append(Window())
    return sinks
