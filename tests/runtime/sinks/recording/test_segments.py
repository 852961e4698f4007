from __future__ import annotations

import cv2
import numpy as np
import pytest

from sacvit.runtime.sinks.recording.disk import Disk
from sacvit.runtime.sinks.recording.folder import RecordingFolder
from sacvit.runtime.sinks.recording.picture import Picture
from sacvit.runtime.sinks.recording.segments import Segments

NOON = 1_795_608_000.0


def picture(taken_s: float, size: tuple[int, int] = (64, 48), stream: int = 0) -> Picture:
    jpeg = cv2.imencode(".jpg", np.zeros((*size[::-1], 3), np.uint8))[1].tobytes()
    return Picture(stream, taken_s, NOON + taken_s, size, jpeg)


class Recording:
    """Segments of 10 s into a folder, and how many frames each file has."""

    def __init__(self, path, keep_bytes: int | None = None) -> None:
        self.path, self.free = path, 1 << 40
        self.now_s = 0.0
        self.folder = RecordingFolder(path, keep_bytes, free_bytes=lambda path: self.free)
        self.disk = Disk(path)
        self.segments = Segments(self.folder, self.disk, 10.0, lambda: self.now_s)

    def frames(self) -> list[int]:
        self.segments.close()
        self.disk.close()
        counts = []
        for path in sorted(self.path.iterdir()):
            capture = cv2.VideoCapture(str(path))
            counts.append(0)
            while capture.read()[0]:
                counts[-1] += 1
            capture.release()
        return counts


def test_a_segment_ends_after_its_time(tmp_path):
    recording = Recording(tmp_path)
    for taken_s in (5, 9, 14.9, 15, 20):
        recording.segments.write(picture(taken_s))
    assert recording.frames() == [3, 2]


def test_a_segment_is_named_by_the_time_of_its_first_frame(tmp_path):
    recording = Recording(tmp_path)
    recording.segments.write(picture(70))
    assert [path.name for path in tmp_path.iterdir()] == ["camera0-00000000-20261125T120110Z.mkv"]


def test_another_frame_size_begins_a_segment(tmp_path):
    recording = Recording(tmp_path)
    for size in ((64, 48), (64, 48), (48, 64)):
        recording.segments.write(picture(1, size))
    assert recording.frames() == [2, 1]


def test_cameras_have_segments_of_their_own(tmp_path):
    recording = Recording(tmp_path)
    for stream in (0, 1, 0):
        recording.segments.write(picture(1, stream=stream))
    assert recording.frames() == [2, 1]
    assert [path.name[:8] for path in sorted(tmp_path.iterdir())] == ["camera0-", "camera1-"]


def test_a_segment_takes_a_part_of_what_is_kept(tmp_path):
    """So that the removal of the oldest leaves most of the recording."""
    recording = Recording(tmp_path, keep_bytes=60_000)
    for place in range(200):
        recording.now_s = place / 100
        recording.segments.write(picture(place / 100))
    recording.segments.close()
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) > 6 and sum(sizes) < 70_000


def test_the_reserve_is_looked_after_while_a_segment_is_written(tmp_path):
    recording = Recording(tmp_path)
    recording.segments.write(picture(0))
    recording.free = 0
    recording.segments.write(picture(0.5))
    recording.now_s = 1.0
    with pytest.raises(OSError, match="No space left"):
        recording.segments.write(picture(1.0))
