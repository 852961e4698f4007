"""Video files through a hardware decoder. Here a software decoder has its place."""

from __future__ import annotations

import logging
from dataclasses import replace

import cv2
import pytest
from stamped_camera import HEIGHT, WIDTH, draw, read_number

from sacvit.runtime.sources.gstreamer import video
from sacvit.runtime.sources.gstreamer.decoders import CODECS, Decoder

FRAMES = 120
WRITERS = {  # with pictures that are stored before the ones that they are predicted from
    "clip.mp4": "x264enc bframes=3 ! h264parse ! mp4mux",
    "clip.mkv": "x264enc bframes=3 ! h264parse ! matroskamux",
    "clip.mov": "x265enc option-string=pools=none ! h265parse ! qtmux",
    "clip.avi": "jpegenc ! avimux",
}


@pytest.fixture(scope="module", params=WRITERS)
def clip(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / request.param
    pipeline = f"appsrc ! videoconvert ! video/x-raw,format=I420 ! {WRITERS[request.param]} ! filesink location={path}"
    writer = cv2.VideoWriter(pipeline, cv2.CAP_GSTREAMER, 0, 25.0, (WIDTH, HEIGHT))
    for number in range(FRAMES):
        writer.write(draw(0.0, number))
    writer.release()
    return path


def as_hardware(*elements: str):
    return tuple(replace(codec, decoders=tuple(map(Decoder, elements))) for codec in CODECS)


@pytest.fixture(autouse=True)
def shown(caplog):
    caplog.set_level(logging.INFO)
    video._report.cache_clear()


def test_every_frame_comes_once_and_in_order(clip, take, monkeypatch, caplog):
    monkeypatch.setattr(video, "CODECS", as_hardware("avdec_h264", "avdec_h265", "avdec_mjpeg"))
    source, frames = take(str(clip), 2 * FRAMES)
    assert [read_number(frame.image) for frame in frames] == list(range(FRAMES))
    assert source.faults == [] and source.fps == pytest.approx(25)
    assert "hardware)" in caplog.text and "FFmpeg" not in caplog.text


def test_hardware_that_fails_on_the_file_is_followed_by_ffmpeg(clip, take, monkeypatch, caplog):
    monkeypatch.setattr(video, "PICTURE_S", 1.0)
    monkeypatch.setattr(video, "choose_decoder", lambda codec: Decoder("avdec_vp8"))
    _, frames = take(str(clip), 2 * FRAMES)
    assert [read_number(frame.image) for frame in frames] == list(range(FRAMES))
    assert "decoded by FFmpeg (software); GStreamer (avdec_vp8, hardware) gives no picture" in caplog.text


def test_without_hardware_ffmpeg_decodes(clip, take, caplog):
    source, frames = take(str(clip), 2 * FRAMES)
    assert len(frames) == FRAMES and source.faults == [] and "decoded by" not in caplog.text
