"""The sinks that a user asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..options import SEGMENT_S, SinkOptions
from ..sources.frame import Source
from .clip import LIVE_FPS, PICTURES_FPS, ClipWriter
from .lines import JsonLines, Table
from .recording.clips import Clips
from .recording.disk import Disk
from .recording.folder import RecordingFolder
from .recording.recorder import Recorder
from .recording.segments import Segments
from .sheet import Sheet
from .sink import Sink
from .window import Window


def open_sinks(
    options: SinkOptions, source: Source, power: Callable[[], Mapping[str, Any] | None] = lambda: None
) -> list[Sink]:
    """The sinks of a run over `source`, the terminal's lines first. Raises UsageError for files that cannot be written.

    power: gives the entry `power` of the next JSON line.
    """
    sinks: list[Sink] = [JsonLines(power) if options.json else Table()]
    if options.clip is not None:
        sinks.append(ClipWriter(options.clip, frame_rate(source), source.live))
    if options.sheet is not None:
        sinks.append(Sheet(options.sheet))
    if options.show:
        sinks.append(Window())
    return sinks


def open_recorder(
    options: SinkOptions, source: Source, on_stop: Callable[[str], None] = lambda reason: None
) -> Recorder | None:
    """The recording of a run into the folder of --save, if one is given.

    on_stop: takes the reason when the disk is full or broken.
    """
    if options.folder is None:
        return None
    keep_bytes = None if options.keep_gib is None else int(options.keep_gib * (1 << 30))
    folder = RecordingFolder(options.folder, keep_bytes)
    disk = Disk(folder.path)
    segment_s = SEGMENT_S if options.segment_s is None else options.segment_s
    segments = Segments(folder, disk, segment_s) if segment_s else None
    clips = None if options.clip_s is None else Clips(folder, disk, *options.clip_s)
    return Recorder(folder, disk, segments, clips, live=source.live, fps=frame_rate(source), on_stop=on_stop)


def frame_rate(source: Source) -> float:
    return LIVE_FPS if source.live else source.fps or PICTURES_FPS
