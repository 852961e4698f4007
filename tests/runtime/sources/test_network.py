from __future__ import annotations

import itertools
import logging
import re
import socket
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from mjpeg_server import MjpegServer
from rtsp_server import RtspServer

from sacvit.bundle.errors import DeviceError, ImageError, UsageError
from sacvit.runtime.sources import live, network, rhythm
from sacvit.runtime.sources.address import parse_address
from sacvit.runtime.sources.frame import OpenOptions
from sacvit.runtime.sources.gstreamer import rtsp
from sacvit.runtime.sources.gstreamer.library import PipelineError
from sacvit.runtime.sources.network import NETWORK, open_stream
from sacvit.runtime.sources.opening import open_source


def first_fault(url: str, options: OpenOptions | None = None) -> tuple[str, str]:
    *before, (finding, cure) = NETWORK.diagnose(url, options or OpenOptions())
    assert all(fine is None for _, fine in before) and cure is not None
    return finding, cure


def take(url: str, count: int, options: OpenOptions | None = None):
    """The source, closed, and its first frames."""
    source = open_source(url, options)
    try:
        return source, list(itertools.islice(source, count))
    finally:
        source.close()


@pytest.mark.parametrize("url", ["rtsp://h/x", "rtsps://h/x", "RTSP://h/x", "http://h/x", "HTTPS://h/x"])
def test_addresses_are_network_streams(url):
    assert NETWORK.matches(url)


def test_the_name_of_a_stream_holds_no_password():
    assert open_source("rtsp://me:p@ss#1@127.0.0.1/1").name == "rtsp://me:***@127.0.0.1:554/1"


# Streams below one frame per second, and slow ones


@pytest.mark.programs
def test_h264_over_rtsp_at_two_frames_per_second_gives_its_frames():
    """FFmpeg by itself looks at 20 frames, or 5 s, before the first one."""
    camera = RtspServer(frame_s=0.5)
    source, frames = take(camera.url, 3)
    camera.die()
    assert len(frames) == 3 and source.losses == 0


@pytest.mark.programs
def test_a_camera_of_longer_gaps_than_the_shortest_limit_is_not_opened_again_for_each_frame(monkeypatch):
    monkeypatch.setattr(rhythm, "SHORTEST_S", 0.2)
    camera = MjpegServer(frame_s=0.3)
    source, frames = take(camera.url, 3)
    camera.die()
    assert len(frames) == 3 and source.losses == 0


def test_a_camera_may_be_slow_to_give_its_first_frame(monkeypatch):
    monkeypatch.setattr(live, "LOOK_S", 0.2)
    camera = MjpegServer(first_s=0.5)
    _, frames = take(camera.url, 2)
    camera.die()
    assert len(frames) == 2


def test_a_first_frame_that_does_not_come_names_the_limit():
    camera = MjpegServer(first_s=60)
    with pytest.raises(DeviceError, match=r"within 0\.4 s \(--open-timeout-s\)"):
        take(camera.url, 1, OpenOptions(open_timeout_s=0.4))
    camera.die()


# MJPEG as servers send it


@pytest.mark.parametrize("content_type", [None, 'multipart/x-mixed-replace;boundary="--frame"'])
def test_mjpeg_is_live_without_a_content_type_and_with_dashes_in_it(content_type):
    camera = MjpegServer(content_type=content_type)
    source, frames = take(camera.url, 3)
    camera.die()
    assert len(frames) == 3 and source.live


def test_mjpeg_that_begins_without_a_boundary_is_refused_with_the_setting_that_reads_it(monkeypatch):
    camera = MjpegServer(begins_with_boundary=False)
    with pytest.raises(DeviceError) as fault:
        take(camera.url, 1)
    match = re.search(r"(OPENCV_FFMPEG_CAPTURE_OPTIONS)='([^']+)'", str(fault.value))
    assert match is not None
    monkeypatch.setenv(*match.groups())
    _, frames = take(camera.url, 3)
    camera.die()
    assert len(frames) == 3


@pytest.mark.parametrize(("size", "threads"), [((64, 48), 1), ((1920, 1080), 1), ((3840, 2160), 4)])
def test_a_stream_is_decoded_by_no_more_threads_than_its_size_takes(monkeypatch, size, threads):
    """A decoder holds back a frame per thread."""
    monkeypatch.setattr("os.cpu_count", lambda: 12)
    asked = []
    opened = network._open_with_threads
    monkeypatch.setattr(network, "_open_with_threads", lambda *how: asked.append(how[-1]) or opened(*how))
    camera = MjpegServer(size=size)
    capture = open_stream(parse_address(camera.url), OpenOptions(), 10.0)
    assert capture.read()[0]
    capture.release()
    camera.die()
    assert asked[-1] == threads


def test_a_gstreamer_that_opens_nothing_is_followed_by_ffmpeg(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(rtsp, "gstreamer", lambda: True)
    monkeypatch.setattr(rtsp, "choose_decoder", lambda codec: codec.decoders[-1])

    def refuse(text, *more):
        raise PipelineError(f"no {text.split()[0]}")

    monkeypatch.setattr(rtsp, "PipelineCapture", refuse)
    camera = RtspServer(0.04)
    _, frames = take(camera.url, 1)
    camera.die()
    assert len(frames) == 1
    assert "decoded by FFmpeg (software); GStreamer gives no picture: no rtspsrc" in caplog.text


# Streams that end


def test_a_video_over_http_gives_every_frame_once(video):
    camera = MjpegServer(files={"/clip.avi": ("video/x-msvideo", video.read_bytes())})
    source, frames = take(f"http://{camera.place}/clip.avi", 50)
    camera.die()
    assert [frame.name for frame in frames] == [f"clip.avi#{index}" for index in range(20)]
    assert not source.live and source.faults == []


def segment(folder: Path, first_shade: int) -> tuple[str, bytes]:
    """An MPEG-2 transport stream of 20 grey frames, each 5 shades brighter."""
    path = folder / f"{first_shade}.ts"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 20, (64, 48))
    for number in range(20):
        writer.write(np.full((48, 64, 3), first_shade + 5 * number, np.uint8))
    writer.release()
    return "video/mp2t", path.read_bytes()


def playlist(*more: str) -> tuple[str, bytes]:
    lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:1", "#EXTINF:1.0,", "0.ts", *more]
    return "application/vnd.apple.mpegurl", "\n".join(lines).encode()


def test_a_playlist_with_an_end_gives_every_frame_once(tmp_path):
    camera = MjpegServer(files={"/vod.m3u8": playlist("#EXT-X-ENDLIST"), "/0.ts": segment(tmp_path, 0)})
    source, frames = take(f"http://{camera.place}/vod.m3u8", 50)
    camera.die()
    shades = [int(frame.image[0, 0, 0]) for frame in frames]
    assert len(frames) >= 19 and shades == sorted(shades)
    assert not source.live


@pytest.mark.programs
def test_a_live_playlist_repeats_no_segment(tmp_path):
    """Frames come a segment at a time: the silence between two of them is no loss."""
    files = {"/live.m3u8": playlist(), "/0.ts": segment(tmp_path, 0), "/1.ts": segment(tmp_path, 120)}
    camera = MjpegServer(files=files)
    source = open_source(f"http://{camera.place}/live.m3u8")
    more = playlist("#EXT-X-DISCONTINUITY", "#EXTINF:1.0,", "1.ts")
    threading.Timer(1.3, camera.files.__setitem__, ["/live.m3u8", more]).start()
    shades = []
    for frame in source:
        shades.append(int(frame.image[0, 0, 0]))
        if shades[-1] >= 120:
            break
    source.close()
    camera.die()
    assert source.live and shades == sorted(shades)


def test_a_recording_over_rtsp_ends():
    camera = RtspServer(0.01, duration_s=60 / 25)
    source, frames = take(camera.url, 100)
    camera.die()
    assert len(frames) + source.dropped >= 58 and source.faults == []


def test_a_file_over_http_without_a_frame_is_refused(video):
    camera = MjpegServer(files={"/clip.avi": ("video/x-msvideo", b"no video" * 100)})
    with pytest.raises(ImageError, match="no video that this OpenCV can decode"):
        take(f"http://{camera.place}/clip.avi", 1)
    camera.die()


# Why there is no picture


def test_a_stream_without_ffmpeg_says_so(monkeypatch):
    monkeypatch.setattr(network, "opencv_has", lambda feature: False)
    assert "without FFMPEG" in first_fault("rtsp://127.0.0.1/x")[0]


@pytest.mark.parametrize("url", ["http://", "http://127.0.0.1:port/"])
def test_a_malformed_address_is_refused_before_anything_is_opened(url):
    assert "http://host:port/path" in first_fault(url)[1]
    with pytest.raises(UsageError):
        open_source(url)


def test_a_closed_port_says_so():
    assert "127.0.0.1:1 does not answer" in first_fault("http://127.0.0.1:1/")[0]


def test_a_host_that_nobody_knows_is_a_missing_device():
    with pytest.raises(DeviceError, match=r"a\.\.b:80 does not answer"):
        take("http://a..b/x", 1)


@pytest.mark.parametrize(
    ("status", "words"),
    [("401 Unauthorized", "refuses this user or password"), ("404 Not Found", "nothing at this path")],
)
def test_the_status_of_an_rtsp_server_is_the_reason(status, words, monkeypatch):
    camera = RtspServer(1.0, status=status)
    asked = []
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *more, **names: asked.append(host) or resolve(host, *more, **names)
    )
    with pytest.raises(DeviceError, match=words) as fault:
        take(f"rtsp://user:p@ss#1@{camera.place}/secret", 1)
    camera.die()
    assert status in str(fault.value) and "127.0.0.1" in str(fault.value)
    assert not any(part in str(fault.value) for part in ("p@ss", "ss#1", "#1@"))
    assert set(asked) == {"127.0.0.1"}


@pytest.mark.parametrize(("status", "words"), [(404, "nothing at this path"), (503, "another client may hold it")])
def test_the_status_of_an_http_server_is_the_reason(status, words):
    camera = MjpegServer(status=status)
    finding, cure = first_fault(camera.url)
    camera.die()
    assert str(status) in finding and words in cure


def test_a_camera_that_asks_for_a_password_shows_where_to_write_it():
    camera = MjpegServer(credentials="Basic dTpw")
    cure = first_fault(camera.url)[1]
    camera.die()
    assert f"http://user:password@{camera.place}/path" in cure


def test_a_password_reaches_the_camera():
    camera = MjpegServer(credentials="Basic dTpwQHNzIzE=")  # u:p@ss#1
    _, frames = take(f"http://u:p@ss#1@{camera.place}/stream.mjpg", 1)
    camera.die()
    assert len(frames) == 1


def test_a_working_stream_has_no_fault():
    camera = MjpegServer()
    findings = list(NETWORK.diagnose(camera.url, OpenOptions()))
    camera.die()
    assert [cure for _, cure in findings] == [None] * 4
    assert findings[-1][0] == "the stream gives a picture"


def test_a_check_of_an_rtsp_stream_says_what_decodes_it():
    camera = RtspServer(0.04)
    finding, cure = list(NETWORK.diagnose(camera.url, OpenOptions()))[-1]
    camera.die()
    assert re.search("decoded by (FFmpeg|GStreamer) ", finding) and cure is None


def test_a_check_of_a_stream_without_a_picture_names_the_limit():
    camera = MjpegServer(first_s=60)
    finding, cure = first_fault(camera.url, OpenOptions(open_timeout_s=0.4))
    camera.die()
    assert "no picture within 0.4 s" in finding and "--open-timeout-s" in cure
