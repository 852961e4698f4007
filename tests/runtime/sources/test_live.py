from __future__ import annotations

import logging
import threading

import numpy as np
import pytest
from mjpeg_server import MjpegServer

from sacvit.bundle.errors import DeviceError
from sacvit.runtime.sources import live, rhythm
from sacvit.runtime.sources.frame import OpenOptions
from sacvit.runtime.sources.live import LiveSource
from sacvit.runtime.sources.opening import open_source


@pytest.fixture
def camera():
    server = MjpegServer()
    yield server
    server.flowing.set()
    server.die()


@pytest.fixture
def stream(camera):
    source = open_source(camera.url)
    yield source
    source.close()


def test_a_stream_gives_its_frames(stream):
    frames = iter(stream)
    shades = [int(next(frames).image[0, 0, 0]) for _ in range(5)]
    assert shades == sorted(shades)
    assert stream.live and stream.total is None


def test_a_stream_that_stalls_comes_back(camera, caplog):
    stream = open_source(camera.url, OpenOptions(stall_timeout_s=0.3))
    frames = iter(stream)
    next(frames)
    camera.flowing.clear()
    threading.Timer(0.6, camera.flowing.set).start()  # longer than the stall limit: the connection is given up
    while stream.losses == 0:
        next(frames)
    next(frames)
    stream.close()
    lost, back = (record.getMessage() for record in caplog.records)
    assert "no frame for 0.3 s (--stall-timeout-s)" in lost and "back after" in back


def test_a_stream_that_dies_and_returns_comes_back(camera, stream, caplog, monkeypatch):
    monkeypatch.setattr(rhythm, "SHORTEST_S", 0.2)
    caplog.set_level(logging.WARNING)
    frames = iter(stream)
    for _ in range(5):  # its rate is known then
        next(frames)
    camera.die()
    served = camera.served
    threading.Timer(0.6, camera.start).start()  # longer than the stall limit
    while camera.served == served:
        next(frames)
    assert "back after" in caplog.text and live.RETRY_S < 1  # a camera that returns is seen again within 2 s


def test_a_stream_that_refuses_from_the_start_is_a_missing_device(camera):
    camera.die()
    with pytest.raises(DeviceError, match=rf"127\.0\.0\.1:{camera.port} does not answer") as fault:
        next(iter(open_source(camera.url)))
    assert fault.value.exit_code == 5
    camera.start()


class FakeCapture:
    """A camera whose frames are handed in one by one; a read blocks until one is there."""

    def __init__(self) -> None:
        self.frames: list[np.ndarray | None] = []
        self.changed = threading.Condition()
        self.released = False
        self.reads = 0

    def give(self, *shades: int | None) -> None:
        with self.changed:
            self.frames += [None if shade is None else np.full((2, 2, 3), shade, np.uint8) for shade in shades]
            self.changed.notify_all()

    def isOpened(self) -> bool:
        return True

    def read(self):
        with self.changed:
            self.reads += 1
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.frames)
            frame = self.frames.pop(0)
        return frame is not None, frame

    def get(self, number: int) -> float:
        return -1.0  # announces no length

    def release(self) -> None:
        self.released = True

    def wait_until_read(self, count: int) -> None:
        """Until `count` reads have begun: the frame of the last but one has been put."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.reads >= count, 5)


def live_source(open_capture, words: str = "", open_timeout_s: float = 10.0, stall_timeout_s: float | None = None):
    options = OpenOptions(open_timeout_s=open_timeout_s, stall_timeout_s=stall_timeout_s)
    return LiveSource("fake", open_capture, lambda: words, options)


def test_only_the_newest_frame_is_kept_and_the_others_are_counted():
    capture = FakeCapture()
    source = live_source(lambda allowed_s: capture)
    frames = iter(source)
    capture.give(0)
    next(frames)
    capture.give(1, 2, 3)
    capture.wait_until_read(5)
    assert next(frames).image[0, 0, 0] == 3
    assert source.dropped == 2
    capture.give(None)
    source.close()


def test_a_reader_that_hangs_is_left_behind():
    hanging, fresh = FakeCapture(), FakeCapture()
    opened = iter([hanging, fresh])
    source, losses = live_source(lambda allowed_s: next(opened), stall_timeout_s=0.2), []
    source.report_losses(lambda stream, message: losses.append((stream, message.partition(" (")[0])))
    frames = iter(source)
    hanging.give(1)
    assert next(frames).image[0, 0, 0] == 1
    fresh.give(2)
    assert next(frames).image[0, 0, 0] == 2
    assert source.losses == 1 and losses == [(0, "fake: no frame for 0.2 s")]
    hanging.give(99)  # it wakes up: its frame no longer counts
    fresh.give(3)
    assert next(frames).image[0, 0, 0] == 3
    hanging.give(None)
    fresh.give(None)
    source.close()


def test_a_silent_camera_lets_the_loop_do_other_work(monkeypatch):
    monkeypatch.setattr(live, "WAIT_S", 0.01)
    capture = FakeCapture()
    source = live_source(lambda allowed_s: capture)
    source.call_while_waiting(lambda: capture.give(1))  # without this call no frame comes
    frames = iter(source)
    assert next(frames).image[0, 0, 0] == 1
    capture.give(None)
    source.close()


def test_of_two_readers_the_first_with_a_frame_counts():
    """A camera that was only slow goes on, though another connection has been tried beside it."""
    slow, other = FakeCapture(), FakeCapture()
    opened = iter([slow, other])
    source = live_source(lambda allowed_s: next(opened), stall_timeout_s=0.2)
    frames = iter(source)
    slow.give(1)
    next(frames)
    threading.Thread(target=lambda: other.wait_until_read(1) or slow.give(2)).start()
    assert next(frames).image[0, 0, 0] == 2
    slow.give(3)
    assert next(frames).image[0, 0, 0] == 3
    other.give(99)
    slow.give(None)
    source.close()


def test_an_attempt_is_given_time_and_the_next_one_more():
    """The sum is what the user allows for the first frame."""
    allowed = []

    def open_late(allowed_s):
        allowed.append(allowed_s)
        raise TimeoutError("too late")

    source = live_source(open_late, "it is slow", open_timeout_s=0.6)
    with pytest.raises(DeviceError, match=r"within 0\.6 s \(--open-timeout-s\)\. it is slow"):
        next(iter(source))
    assert allowed[:2] == pytest.approx([0.2, 0.4])


def test_an_attempt_in_its_time_is_not_joined_by_another(monkeypatch):
    """An RTSP camera may take longer to open than a stall may last."""
    monkeypatch.setattr(live, "LOOK_S", 0.02)
    capture, opened, attempts = FakeCapture(), threading.Event(), []

    def open_slowly(allowed_s):
        attempts.append(1)
        opened.wait(5)
        return capture

    source = live_source(open_slowly)
    frames = iter(source)
    threading.Timer(0.2, opened.set).start()
    capture.give(1)
    next(frames)
    assert len(attempts) == 1
    capture.give(None)
    source.close()


def test_a_second_client_that_is_refused_does_not_end_the_first(monkeypatch):
    """Some cameras take one client: while the first attempt is slow, the one beside it is refused."""
    monkeypatch.setattr(live, "LOOK_S", 0.02)
    capture, refused, attempts = FakeCapture(), threading.Event(), []

    def open_one(allowed_s):
        attempts.append(1)
        if len(attempts) > 1:
            refused.set()
            raise OSError("busy")
        refused.wait(5)
        return capture

    source = live_source(open_one, open_timeout_s=1.5)
    frames = iter(source)  # kept: an iteration that ends closes the source
    capture.give(1)
    assert next(frames).image[0, 0, 0] == 1
    capture.give(None)
    source.close()


def test_hanging_readers_do_not_pile_up(monkeypatch):
    monkeypatch.setattr(live, "LOOK_S", 0.01)
    monkeypatch.setattr(live, "CLOSE_S", 0.05)
    captures: list[FakeCapture] = []

    def open_another(allowed_s) -> FakeCapture:
        captures.append(FakeCapture())
        return captures[-1]

    source = live_source(open_another, "it hangs", open_timeout_s=1.0)
    with pytest.raises(DeviceError, match=r"it hangs"):
        next(iter(source))
    assert 1 < len(captures) <= live.MOST_READERS
    for capture in captures:
        capture.give(None)
    source.close()


def test_a_stream_that_announces_its_length_ends_with_it():
    class Recording(FakeCapture):
        def get(self, number: int) -> float:
            return 3.0

    capture, opened = Recording(), []
    source = live_source(lambda allowed_s: opened.append(1) or capture)
    capture.give(1, 2, 3, None)
    assert len(list(source)) + source.dropped == 3
    assert opened == [1] and source.faults == []


def test_a_stream_that_ends_before_its_length_says_so():
    class Recording(FakeCapture):
        def get(self, number: int) -> float:
            return 72.0

    capture = Recording()
    source = live_source(lambda allowed_s: capture)
    capture.give(1, 2, 3, None)
    list(source)
    assert source.faults == ["fake: the stream ended after 3 of 72 frames"]


def test_no_reader_stays_behind_an_iteration_that_failed(camera):
    camera.die()
    with pytest.raises(DeviceError):
        next(iter(open_source(camera.url)))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(live.READER)]
    camera.start()


def test_closing_waits_for_the_reader():
    capture = FakeCapture()
    source = live_source(lambda allowed_s: capture)
    capture.give(1, None)
    next(iter(source))
    source.close()
    assert capture.released


def test_closing_does_not_wait_for_a_reader_that_hangs(monkeypatch):
    monkeypatch.setattr(live, "CLOSE_S", 0.05)
    capture = FakeCapture()
    source = live_source(lambda allowed_s: capture)
    capture.give(1)
    next(iter(source))
    closing = threading.Thread(target=source.close)
    closing.start()
    closing.join(20)
    assert not closing.is_alive()
    capture.give(None)


@pytest.mark.parametrize("where", ["open", "read"])
def test_a_drivers_exception_is_a_missing_device_with_its_words(where, monkeypatch):
    monkeypatch.setattr(live, "RETRY_S", 0.01)

    class Broken(FakeCapture):
        def read(self):
            raise RuntimeError("the sensor is on fire")

    def open_capture(allowed_s):
        if where == "open":
            raise RuntimeError("the sensor is on fire")
        return Broken()

    source = live_source(open_capture, "cure", open_timeout_s=0.3)
    with pytest.raises(DeviceError, match="the sensor is on fire"):
        next(iter(source))
    source.close()


def test_closing_ends_a_waiting_consumer():
    capture = FakeCapture()
    source = live_source(lambda allowed_s: capture)
    threading.Timer(0.05, source.close).start()
    threading.Timer(0.1, capture.give, [None]).start()
    assert list(source) == []
