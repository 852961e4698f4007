"""The sinks that a user asked for."""

from __future__ import annotations

from collections.abc import Callable

from ..options import SEGMENT_S, SinkOptions
from ..sources.frame import Source
from .clip import LIVE_FPS, PICTURES_FPS, ClipWriter
from .lines import JsonLines, Table
from .recording.folder import RecordingFolder
from .recording.recorder import Recorder
from .recording.segments import Segments
from .sheet import Sheet
from .sink import Sink
from .window import Window


def open_sinks(
    options: SinkOptions, source: Source, on_stop: Callable[[str], None] = lambda reason: None
) -> list[Sink]:
    """The sinks of a run over `source`, the terminal's lines first. Raises UsageError for files that cannot be written.

    on_stop: takes the reason when the disk of a recording is full or broken.
    """
    sinks: list[Sink] = [JsonLines() if options.json else Table()]
    fps = LIVE_FPS if source.live else source.fps or PICTURES_FPS
    if options.clip is not None:
        sinks.append(ClipWriter(options.clip, fps, source.live))
    if options.folder is not None:
        keep_bytes = None if options.keep_gib is None else int(options.keep_gib * (1 << 30))
        folder = RecordingFolder(options.folder, keep_bytes)
        segments = Segments(folder, options.segment_s or SEGMENT_S)
        sinks.append(Recorder(folder, segments, live=source.live, fps=fps, on_stop=on_stop))
    if options.sheet is not None:
        sinks.append(Sheet(options.sheet))
    if options.show:
        sinks.append(Window())
    return sinks
