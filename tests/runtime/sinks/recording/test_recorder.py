from __future__ import annotations

import logging
import threading
from dataclasses import replace

import cv2
import numpy as np
import pytest

from sacvit.runtime.chain.result import Result
from sacvit.runtime.sinks.overlay import Running
from sacvit.runtime.sinks.recording.clips import Clips
from sacvit.runtime.sinks.recording.disk import Disk
from sacvit.runtime.sinks.recording.folder import RecordingFolder
from sacvit.runtime.sinks.recording.recorder import RETRY_S, WAITING, Moment, Recorder
from sacvit.runtime.sinks.recording.segments import Segments
from sacvit.runtime.sinks.sink import Answer
from sacvit.runtime.sources.frame import Frame

EXIT = Result(1, "bee", 0.91, "EE", 0.91, (0, 1), 2.5, None)


def answer(index: int = 0, taken_s: float = 0.0) -> Answer:
    image = np.full((480, 640, 3), index, np.uint8)
    view = np.zeros((32, 32, 3), np.uint8)
    frame = Frame(index, f"f{index}", image, taken_s=taken_s)
    return Answer(frame, EXIT, view, (0, 80, 480, 480), 4, 0.5, 0.4, 9.25, Running(0.25, 7.5, 0))


def times_ms(path) -> list[int]:
    capture = cv2.VideoCapture(str(path))
    times = []
    while capture.read()[0]:
        times.append(round(capture.get(cv2.CAP_PROP_POS_MSEC)))
    capture.release()
    return times


class Rig:
    """A recorder whose clock and whose free space a test sets."""

    def __init__(self, path, live: bool = True, clip_s: tuple[float, float] | None = None) -> None:
        self.free, self.now_s = 1 << 40, 0.0
        folder = RecordingFolder(path, free_bytes=lambda path: self.free)
        disk = Disk(path)
        segments = Segments(folder, disk, 60.0, lambda: self.now_s)
        clips = None if clip_s is None else Clips(folder, disk, *clip_s)
        self.stops = []
        self.recorder = Recorder(
            folder,
            disk,
            segments,
            clips,
            on_stop=self.stops.append,
            live=live,
            fps=10,
            monotonic_s=lambda: self.now_s,
            unix_s=lambda: 1.8e9 + self.now_s,
        )

    def record(self, at_s: float) -> None:
        self.now_s = at_s
        self.recorder.record(answer(taken_s=at_s), Moment(at_s, 1.8e9 + at_s))


def test_frames_of_a_camera_keep_their_times(tmp_path):
    disk = Rig(tmp_path)
    for taken_s in (3.0, 3.5, 5.25):
        disk.record(taken_s)
    disk.recorder.close()
    assert [times_ms(path) for path in tmp_path.iterdir()] == [[0, 500, 2250]]


def test_frames_of_a_file_come_at_its_rate_and_all_of_them(tmp_path):
    disk = Rig(tmp_path, live=False)
    for index in range(3 * WAITING):
        disk.recorder.write(answer(index))
    disk.recorder.close()
    assert [times_ms(path) for path in tmp_path.iterdir()] == [[100 * place for place in range(3 * WAITING)]]


def test_a_full_disk_is_reported_once_and_the_recording_goes_on_when_there_is_room(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    disk = Rig(tmp_path)
    disk.record(0.0)
    disk.free = 0
    for at_s in (1.0, 2.0, 1.5 + RETRY_S, 3 + 2 * RETRY_S):  # two attempts fail
        disk.record(at_s)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert len(disk.stops) == 1 and disk.stops[0].startswith("No space left on device")
    assert "the recording has stopped: No space left on device" in caplog.text and "--keep-gib" in caplog.text
    disk.free = 1 << 40
    disk.record(4 + 2 * RETRY_S)  # too early for another attempt
    disk.record(4 + 3 * RETRY_S)
    disk.recorder.close()
    assert "the recording goes on" in caplog.records[1].message
    assert [times_ms(path) for path in sorted(tmp_path.iterdir())] == [[0], [0]]
    assert "5 frames are not in the recording" in caplog.records[2].message


def test_a_disk_that_is_too_slow_holds_up_no_answer(tmp_path, caplog):
    disk = Rig(tmp_path)
    blocked, going = threading.Event(), threading.Event()
    write = disk.recorder._segments.write

    def wait(picture):
        blocked.set()
        going.wait()
        write(picture)

    disk.recorder._segments.write = wait
    disk.recorder.write(answer())
    blocked.wait()
    for index in range(WAITING + 3):
        disk.recorder.write(answer(index))
    going.set()
    disk.recorder.close()
    assert disk.recorder.left_out == 3 and "3 frames are not in the recording" in caplog.text


def test_a_defect_ends_the_run(tmp_path):
    rig = Rig(tmp_path)
    rig.recorder.write(replace(answer(), threshold="no number"))
    with pytest.raises(ValueError, match="Unknown format code"):
        rig.recorder.close()


def test_a_clip_is_kept_of_the_frame_that_came_last(tmp_path):
    rig = Rig(tmp_path, clip_s=(1.0, 1.0))
    assert rig.recorder.keep_clip(0) is None  # no frame yet
    for taken_s in (1.0, 2.0, 3.0):
        rig.now_s = taken_s
        rig.recorder.write(answer(taken_s=taken_s))
    name = rig.recorder.keep_clip(0)
    for taken_s in (4.0, 5.0):
        rig.recorder.write(answer(taken_s=taken_s))
    rig.recorder.close()
    assert times_ms(tmp_path / name) == [0, 1000, 2000]


def test_no_clip_is_kept_where_none_is_asked_for(tmp_path):
    rig = Rig(tmp_path)
    rig.recorder.write(answer())
    assert rig.recorder.keep_clip(0) is None
    rig.recorder.close()
