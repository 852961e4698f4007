from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from mjpeg_server import MjpegServer

from sacvit.bundle.errors import DeviceError
from sacvit.runtime.sources import live
from sacvit.runtime.sources.live import LiveSource
from sacvit.runtime.sources.opening import open_source

BACK_S = 2.0  # the promise: a camera that returns is seen again within this


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


def test_a_stream_that_stalls_comes_back(camera, stream, capsys):
    frames = iter(stream)
    next(frames)
    camera.flowing.clear()
    threading.Timer(1.5, camera.flowing.set).start()  # longer than the stall limit: the connection is given up
    began = time.monotonic()
    while stream.losses == 0:
        next(frames)
    assert time.monotonic() - began < 1.5 + BACK_S
    assert "no frame for 1 s, reconnecting" in capsys.readouterr().err


def test_a_stream_that_dies_and_returns_comes_back(camera, stream, capsys):
    frames = iter(stream)
    next(frames)
    camera.die()
    served = camera.served
    returned: list[float] = []

    def come_back() -> None:
        camera.start()
        returned.append(time.monotonic())

    threading.Timer(1.2, come_back).start()
    while camera.served == served:
        next(frames)
    assert time.monotonic() - returned[0] < BACK_S
    assert "back after" in capsys.readouterr().err


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

    def release(self) -> None:
        self.released = True

    def wait_until_read(self, count: int) -> None:
        """Until `count` reads have begun: the frame of the last but one has been put."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.reads >= count, 5)


def test_only_the_newest_frame_is_kept_and_the_others_are_counted():
    capture = FakeCapture()
    source = LiveSource("fake", lambda: capture, lambda: "")
    frames = iter(source)
    capture.give(0)
    next(frames)
    capture.give(1, 2, 3)
    capture.wait_until_read(5)
    assert next(frames).image[0, 0, 0] == 3
    assert source.dropped == 2
    capture.give(None)
    source.close()


def test_a_reader_that_hangs_is_left_behind(monkeypatch):
    monkeypatch.setattr(live, "STALL_S", 0.05)
    hanging, fresh = FakeCapture(), FakeCapture()
    opened = iter([hanging, fresh])
    source = LiveSource("fake", lambda: next(opened), lambda: "")
    frames = iter(source)
    hanging.give(1)
    assert next(frames).image[0, 0, 0] == 1
    fresh.give(2)
    assert next(frames).image[0, 0, 0] == 2
    assert source.losses == 1
    hanging.give(99)  # it wakes up: its frame no longer counts
    fresh.give(3)
    assert next(frames).image[0, 0, 0] == 3
    hanging.give(None)
    fresh.give(None)
    source.close()


def test_a_slow_attempt_to_open_is_not_cut_off(monkeypatch):
    """An RTSP camera may take longer to open than a stall may last."""
    monkeypatch.setattr(live, "STALL_S", 0.02)
    capture, opened, attempts = FakeCapture(), threading.Event(), []

    def open_slowly():
        attempts.append(1)
        opened.wait(5)
        return capture

    source = LiveSource("fake", open_slowly, lambda: "")
    frames = iter(source)
    threading.Timer(0.2, opened.set).start()
    capture.give(1)
    next(frames)
    assert len(attempts) == 1
    capture.give(None)
    source.close()


def test_hanging_readers_do_not_pile_up(monkeypatch):
    monkeypatch.setattr(live, "STALL_S", 0.01)
    captures: list[FakeCapture] = []

    def open_another() -> FakeCapture:
        captures.append(FakeCapture())
        return captures[-1]

    source = LiveSource("fake", open_another, lambda: "it hangs")
    monkeypatch.setattr(live, "FIRST_FRAME_S", 0.3)
    with pytest.raises(DeviceError, match=r"fake gives no picture. it hangs"):
        next(iter(source))
    assert len(captures) <= live.MOST_READERS
    for capture in captures:
        capture.give(None)
    source.close()


def test_no_reader_stays_behind_an_iteration_that_failed(camera):
    camera.die()
    with pytest.raises(DeviceError):
        next(iter(open_source(camera.url)))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(live.READER)]
    camera.start()


def test_closing_waits_for_the_reader():
    capture = FakeCapture()
    source = LiveSource("fake", lambda: capture, lambda: "")
    capture.give(1, None)
    next(iter(source))
    source.close()
    assert capture.released


def test_closing_does_not_wait_for_a_reader_that_hangs(monkeypatch):
    monkeypatch.setattr(live, "CLOSE_S", 0.05)
    capture = FakeCapture()
    source = LiveSource("fake", lambda: capture, lambda: "")
    capture.give(1)
    next(iter(source))
    began = time.monotonic()
    source.close()
    assert time.monotonic() - began < 1
    capture.give(None)


@pytest.mark.parametrize("where", ["open", "read"])
def test_a_drivers_exception_is_a_missing_device_with_its_words(where, monkeypatch):
    monkeypatch.setattr(live, "FIRST_FRAME_S", 0.2)
    monkeypatch.setattr(live, "STALL_S", 0.05)
    monkeypatch.setattr(live, "RETRY_S", 0.01)

    class Broken(FakeCapture):
        def read(self):
            raise OSError("the sensor is on fire")

    def open_capture():
        if where == "open":
            raise OSError("the sensor is on fire")
        return Broken()

    source = LiveSource("fake", open_capture, lambda: "cure")
    with pytest.raises(DeviceError, match="the sensor is on fire"):
        next(iter(source))
    source.close()


def test_closing_ends_a_waiting_consumer():
    capture = FakeCapture()
    source = LiveSource("fake", lambda: capture, lambda: "")
    threading.Timer(0.05, source.close).start()
    threading.Timer(0.1, capture.give, [None]).start()
    assert list(source) == []
