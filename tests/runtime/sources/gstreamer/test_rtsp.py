from __future__ import annotations

from typing import ClassVar

import pytest
from rtsp_server import RtspServer

from sacvit.runtime.sources.address import parse_address
from sacvit.runtime.sources.frame import OpenOptions
from sacvit.runtime.sources.gstreamer import rtsp
from sacvit.runtime.sources.gstreamer.rtsp import RtspOpener


class FakeCapture:
    """Gives a picture, or is silent; the limits that each was opened with are kept."""

    limits_s: ClassVar[list[float]] = []

    def __init__(self, is_open: bool, limit_s: float) -> None:
        self.isOpened, self.is_silent, self.fault = lambda: is_open, not is_open, "it is silent"
        self.limits_s.append(limit_s)

    def release(self) -> None:
        pass


BY_FFMPEG = FakeCapture(True, 0.0)


@pytest.fixture
def opener_of(monkeypatch):
    """Makes an opener whose pipelines give a picture or not, as the script says, for a server that is ended with the test."""
    cameras = []

    def make(*script: bool, **server: float) -> tuple[RtspServer, RtspOpener]:
        works = iter(script)
        monkeypatch.setattr(rtsp, "gstreamer", lambda: True)
        monkeypatch.setattr(rtsp, "choose_decoder", lambda codec: codec.decoders[-1])
        monkeypatch.setattr(rtsp, "PipelineCapture", lambda text, limit_s, *more: FakeCapture(next(works), limit_s))
        monkeypatch.setattr(FakeCapture, "limits_s", [])
        cameras.append(RtspServer(1.0, **server))
        return cameras[-1], RtspOpener(parse_address(cameras[-1].url), OpenOptions(), lambda allowed_s: BY_FFMPEG)

    yield make
    for camera in cameras:
        camera.die()


def test_a_stream_that_worked_is_opened_a_second_time_when_it_is_silent(opener_of):
    _, opener = opener_of(True, False, True)
    assert BY_FFMPEG not in (opener(10.0), opener(10.0))
    assert FakeCapture.limits_s == [10.0, rtsp.SURE_S, 10.0]


def test_a_stream_that_worked_is_not_described_again(opener_of):
    camera, opener = opener_of(True, True, True)
    for _ in range(3):
        opener(10.0)
    assert len(camera.requests) == 1


def test_where_gstreamer_never_gave_a_picture_ffmpeg_is_kept(opener_of):
    _, opener = opener_of(False)
    assert [opener(10.0) for _ in range(3)] == [BY_FFMPEG] * 3


def test_where_gstreamer_gave_pictures_it_is_tried_again_after_ffmpeg(opener_of):
    camera, opener = opener_of(True, False, False, True)
    assert [opener(10.0) is BY_FFMPEG for _ in range(3)] == [False, True, False]
    assert len(camera.requests) == 2  # the description may have changed


def test_a_recording_is_left_to_ffmpeg(opener_of):
    _, opener = opener_of(duration_s=2.4)
    assert opener(10.0) is BY_FFMPEG
