from __future__ import annotations

import logging
import threading

import cv2
import numpy as np
import pytest

from sacvit.runtime.chain.result import Result
from sacvit.runtime.sinks.overlay import Running
from sacvit.runtime.sinks.recording.folder import RecordingFolder
from sacvit.runtime.sinks.recording.recorder import RETRY_S, WAITING, Recorder
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


class Disk:
    """A recorder whose clock and whose free space a test sets."""

    def __init__(self, path, live: bool = True) -> None:
        self.free, self.now_s = 1 << 40, 0.0
        folder = RecordingFolder(path, free_bytes=lambda path: self.free)
        segments = Segments(folder, 60.0, lambda: self.now_s)
        self.recorder = Recorder(
            folder, segments, live=live, fps=10, monotonic_s=lambda: self.now_s, unix_s=lambda: 1.8e9 + self.now_s
        )

    def record(self, at_s: float) -> None:
        self.now_s = at_s
        self.recorder.record(answer(taken_s=at_s))


def test_frames_of_a_camera_keep_their_times(tmp_path):
    disk = Disk(tmp_path)
    for taken_s in (3.0, 3.5, 5.25):
        disk.record(taken_s)
    disk.recorder.close()
    assert [times_ms(path) for path in tmp_path.iterdir()] == [[0, 500, 2250]]


def test_frames_of_a_file_come_at_its_rate_and_all_of_them(tmp_path):
    disk = Disk(tmp_path, live=False)
    for index in range(3 * WAITING):
        disk.recorder.write(answer(index))
    disk.recorder.close()
    assert [times_ms(path) for path in tmp_path.iterdir()] == [[100 * place for place in range(3 * WAITING)]]


def test_a_full_disk_is_reported_once_and_the_recording_goes_on_when_there_is_room(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    disk = Disk(tmp_path)
    disk.record(0.0)
    disk.free = 0
    for at_s in (1.0, 2.0, 1.5 + RETRY_S, 3 + 2 * RETRY_S):  # two attempts fail
        disk.record(at_s)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "the recording has stopped: No space left on device" in caplog.text and "--keep-gib" in caplog.text
    disk.free = 1 << 40
    disk.record(4 + 2 * RETRY_S)  # too early for another attempt
    disk.record(4 + 3 * RETRY_S)
    disk.recorder.close()
    assert "the recording goes on" in caplog.records[1].message
    assert [times_ms(path) for path in sorted(tmp_path.iterdir())] == [[0], [0]]
    assert "5 frames are not in the recording" in caplog.records[2].message


def test_a_disk_that_is_too_slow_holds_up_no_answer(tmp_path, caplog):
    disk = Disk(tmp_path)
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
    disk = Disk(tmp_path)
    disk.recorder.write(answer())
    disk.recorder.write("no answer")
    with pytest.raises(AttributeError):
        disk.recorder.close()
