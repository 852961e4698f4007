from __future__ import annotations

import cv2
import numpy as np
import pytest

from sacvit.runtime.sinks.recording.clips import MOST_S, Clips, Ring
from sacvit.runtime.sinks.recording.disk import Disk
from sacvit.runtime.sinks.recording.folder import RecordingFolder
from sacvit.runtime.sinks.recording.picture import Picture

NOON = 1_795_608_000.0


def picture(taken_s: float, size: tuple[int, int] = (64, 48), stream: int = 0) -> Picture:
    shade = round(10 * taken_s) % 256
    jpeg = cv2.imencode(".jpg", np.full((*size[::-1], 3), shade, np.uint8))[1].tobytes()
    return Picture(stream, taken_s, NOON + taken_s, size, jpeg)


class Recording:
    """Clips of 1 s before an event and 2 s after it, of cameras that give a frame every half second."""

    def __init__(self, path) -> None:
        self.path, self.disk = path, Disk(path)
        self.clips = Clips(RecordingFolder(path, free_bytes=lambda path: 1 << 40), self.disk, 1.0, 2.0)

    def show(self, first_s: float, last_s: float, size: tuple[int, int] = (64, 48), stream: int = 0) -> None:
        for half in range(round(2 * first_s), round(2 * last_s) + 1):
            self.clips.write(picture(half / 2, size, stream))

    def shown(self) -> list[tuple[float, float]]:
        """The times of the first and the last frame of each file."""
        found = []
        for path in sorted(self.path.iterdir()):
            capture, shades = cv2.VideoCapture(str(path)), []
            while (frame := capture.read())[0]:
                shades.append(round(float(frame[1].mean()) / 5) / 2)
            capture.release()
            found.append((shades[0], shades[-1]))
        return found

    def end(self) -> list[tuple[float, float]]:
        self.clips.close()
        self.disk.close()
        return self.shown()


def test_a_clip_begins_before_its_event_and_ends_after_it(tmp_path):
    recording = Recording(tmp_path)
    recording.show(0, 5)
    name = recording.clips.ask(0, 5.0, NOON + 5)
    recording.show(5.5, 9)
    assert [path.name for path in tmp_path.iterdir()] == [name] == ["camera0-00000000-20261125T120005Z-event.mkv"]
    assert recording.shown() == [(4.0, 7.0)]
    assert recording.end() == [(4.0, 7.0)]


def test_a_clip_begins_so_long_before_its_event_when_frames_still_wait(tmp_path):
    recording = Recording(tmp_path)
    recording.show(0, 5)
    recording.clips.ask(0, 5.5, NOON)
    recording.show(5.5, 6)
    assert recording.end() == [(4.5, 6.0)]


def test_an_event_during_a_clip_prolongs_it_and_a_later_one_has_its_own(tmp_path):
    recording = Recording(tmp_path)
    recording.show(0, 5)
    first = recording.clips.ask(0, 5.0, NOON)
    recording.show(5.5, 6)
    assert recording.clips.ask(0, 6.0, NOON) == first
    recording.show(6.5, 9)
    assert recording.clips.ask(0, 9.0, NOON) != first
    recording.show(9.5, 12)
    assert recording.end() == [(4.0, 8.0), (8.0, 11.0)]


def test_a_clip_is_not_prolonged_for_ever(tmp_path):
    recording = Recording(tmp_path)
    recording.show(0, 1)
    first = recording.clips.ask(0, 1.0, NOON)
    names = {recording.clips.ask(0, 1.0 + second, NOON) for second in range(int(MOST_S) + 1)}
    assert names == {first}
    assert recording.clips.ask(0, 2.0 + MOST_S, NOON) != first


def test_cameras_have_clips_of_their_own(tmp_path):
    recording = Recording(tmp_path)
    recording.show(0, 3, stream=0)
    recording.show(0, 3, stream=1)
    recording.clips.ask(1, 3.0, NOON)
    recording.show(3.5, 6, stream=0)
    recording.show(3.5, 4, stream=1)
    assert recording.end() == [(2.0, 4.0)]


def test_another_frame_size_ends_a_clip(tmp_path):
    recording = Recording(tmp_path)
    recording.show(0, 3)
    recording.clips.ask(0, 3.0, NOON)
    recording.show(3.5, 3.5)
    recording.show(4, 5, size=(48, 64))
    assert recording.end() == [(2.0, 3.5)]


@pytest.mark.parametrize("ends", [True, False], ids=["end", "begin"])
def test_a_camera_that_is_lost_leaves_the_clip_of_what_was_before(tmp_path, ends):
    recording = Recording(tmp_path)
    recording.show(0, 3)
    recording.clips.ask(0, 3.0, NOON)
    if ends:
        recording.clips.close()
    else:
        recording.clips.begin()
    assert recording.shown() == [(2.0, 3.0)]


def test_the_ring_holds_seconds_and_at_most_so_many_bytes(monkeypatch):
    ring = Ring(1.0)
    for half in range(10):
        ring.add(picture(half / 2))
    assert [one.taken_s for one in ring.pictures] == [3.5, 4.0, 4.5]
    monkeypatch.setattr("sacvit.runtime.sinks.recording.clips.RING_BYTES", 2 * len(picture(0).jpeg) + 100)
    ring.add(picture(5))
    assert [one.taken_s for one in ring.pictures] == [4.5, 5.0]
