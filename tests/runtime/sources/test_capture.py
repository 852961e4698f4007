from __future__ import annotations

import os

import pytest

from sacvit.runtime.sources import capture
from sacvit.runtime.sources.capture import announced_frames, has_reached_end, is_cut_short, rtsp_options

NAME = "OPENCV_FFMPEG_CAPTURE_OPTIONS"


class Announcing:
    def __init__(self, count: float) -> None:
        self.count = count

    def get(self, number: int) -> float:
        assert number == capture.FRAME_COUNT
        return self.count


@pytest.mark.parametrize(
    ("count", "announced"), [(72.0, 72), (0.0, None), (-1.0, None), (-2.4e15, None), (2.8e17, None)]
)
def test_only_a_count_that_can_be_is_a_count(count, announced):
    assert announced_frames(Announcing(count)) == announced


def test_a_container_may_round_its_count():
    assert not is_cut_short(71, 72) and not is_cut_short(980, 1000) and not is_cut_short(5, None)
    assert is_cut_short(70, 72) and is_cut_short(979, 1000)


def test_the_end_is_reached_where_the_announced_frames_end():
    assert has_reached_end(39, 9_417, 24, 227) and not has_reached_end(39, 5_000, 24, 227)
    assert not has_reached_end(39, 9_417, 0, 227) and not has_reached_end(39, 9_417, 24, None)


def test_options_are_set_while_somebody_opens_and_not_longer(monkeypatch):
    monkeypatch.delenv(NAME, raising=False)
    with rtsp_options():
        with rtsp_options():
            assert "prefer_tcp" in os.environ[NAME]
        assert NAME in os.environ
    assert NAME not in os.environ


def test_what_the_user_has_set_stays(monkeypatch):
    monkeypatch.setenv(NAME, "rtsp_transport;udp")
    with rtsp_options():
        assert os.environ[NAME] == "rtsp_transport;udp"
    assert os.environ[NAME] == "rtsp_transport;udp"
