"""Clips around events: what a camera showed before, from memory, and after."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from .disk import Disk
from .folder import RecordingFolder
from .matroska import MatroskaFile
from .picture import Picture

RING_BYTES = 64 << 20  # of encoded frames in memory per camera: 10 s at 30 frames per second of 200 kB
MOST_S = 600.0  # of a clip that further events prolong


class Ring:
    """The last frames of a camera: so many seconds of them, at most RING_BYTES."""

    def __init__(self, kept_s: float) -> None:
        self._kept_s, self._bytes = kept_s, 0
        self.pictures: deque[Picture] = deque()

    def add(self, picture: Picture) -> None:
        self.pictures.append(picture)
        self._bytes += len(picture.jpeg)
        oldest_s = picture.taken_s - self._kept_s
        while self.pictures[0].taken_s < oldest_s or self._bytes > RING_BYTES:
            self._bytes -= len(self.pictures.popleft().jpeg)


@dataclass
class Clip:
    """A clip that is asked for. shown_s, until_s: when its first event began, and when it ends."""

    path: Path
    shown_s: float
    until_s: float
    file: MatroskaFile | None = None  # until its first frame is written
    began_s: float = 0.0


class Clips:
    """Writes clips. `ask` is called by the chain, the rest by the recorder's thread. Raises OSError as `Segments` does.

    An event while a clip is being written prolongs it. Another frame size ends a clip early.
    """

    def __init__(self, folder: RecordingFolder, disk: Disk, before_s: float, after_s: float) -> None:
        self._folder, self._disk, self._before_s, self._after_s = folder, disk, before_s, after_s
        self._rings: dict[int, Ring] = {}
        self._asked = threading.Lock()  # guards what follows
        self._clips: dict[int, list[Clip]] = {}  # by stream; the last one may be prolonged

    def ask(self, stream: int, taken_s: float, unix_s: float) -> str:
        """The name of the file that will show an event. taken_s, unix_s: of the frame with which it began."""
        with self._asked:
            clips = self._clips.setdefault(stream, [])
            if not clips or not taken_s <= min(clips[-1].until_s, clips[-1].shown_s + MOST_S):
                clips.append(Clip(self._folder.new_file(stream, unix_s, is_event=True), taken_s, taken_s))
            clips[-1].until_s = taken_s + self._after_s
            return clips[-1].path.name

    def write(self, picture: Picture) -> None:
        """Takes a frame: into memory, and into the clips that go on."""
        ring = self._rings.setdefault(picture.stream, Ring(self._before_s))
        with self._asked:
            clips = list(self._clips.get(picture.stream, ()))
        for clip in clips:
            if clip.file is None:  # of the frames before this one
                self._begin(clip, ring)
            if picture.taken_s > clip.until_s or (clip.file is not None and clip.file.size != picture.size):
                self._end(picture.stream, clip)
            elif clip.file is not None:
                self._put(clip, picture)
        ring.add(picture)

    def begin(self) -> None:
        """Writes what is in memory for the clips that were asked for: a lost camera gives no further frame."""
        with self._asked:
            waiting = [(stream, clip) for stream, clips in self._clips.items() for clip in clips if clip.file is None]
        for stream, clip in waiting:
            if (ring := self._rings.get(stream)) is not None:
                self._begin(clip, ring)

    def _begin(self, clip: Clip, ring: Ring) -> None:
        shown = [one for one in ring.pictures if one.taken_s >= clip.shown_s - self._before_s]
        shown = [one for one in shown if one.size == shown[-1].size]
        if not shown:
            return
        self._folder.require_room()
        self._folder.make_room()
        clip.file, clip.began_s = MatroskaFile(clip.path, shown[0].size, shown[0].unix_s), shown[0].taken_s
        for picture in shown:
            self._put(clip, picture)

    def _put(self, clip: Clip, picture: Picture) -> None:
        assert clip.file is not None
        clip.file.write(round(1e3 * (picture.taken_s - clip.began_s)), picture.jpeg)

    def _end(self, stream: int, clip: Clip) -> None:
        with self._asked:
            self._clips[stream].remove(clip)
        try:
            if clip.file is not None:
                clip.file.finish()
                self._disk.sync([clip.file.descriptor()])
        finally:
            if clip.file is not None:
                clip.file.close()
            self._folder.end_file(clip.path)

    def abandon(self) -> None:
        """Leaves all clips as they are, for a disk that takes no more."""
        with self._asked:
            clips = [clip for clips in self._clips.values() for clip in clips]
            self._clips = {}
        for clip in clips:
            if clip.file is not None:
                clip.file.close()
            self._folder.end_file(clip.path)

    def close(self) -> None:
        """Ends all clips, those that still wait for frames included."""
        try:
            self.begin()
            for stream, clips in list(self._clips.items()):
                for clip in list(clips):
                    self._end(stream, clip)
        finally:
            self.abandon()
