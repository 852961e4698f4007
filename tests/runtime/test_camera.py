from __future__ import annotations

import re

import pytest

from sacvit.bundle.errors import UsageError
from sacvit.runtime.sources.camera import csi_pipeline, diagnose, open_camera, without_password
from sacvit.runtime.sources.live import LiveSource

NO_GSTREAMER = "  Video I/O:\n    FFMPEG:    YES\n    GStreamer:                   NO\n"
WITH_GSTREAMER = "  Video I/O:\n    FFMPEG:    NO\n    GStreamer:                   YES (1.20.3)\n"


@pytest.mark.parametrize("spec", ["0", "12", "/dev/video3", "v4l2:///dev/video0"])
def test_a_number_or_a_node_is_a_v4l2_camera(spec):
    source = open_camera(spec)
    assert isinstance(source, LiveSource)
    assert source.name == f"/dev/video{re.findall(r'(?<!v4l)[0-9]+$', spec)[0]}"


@pytest.mark.parametrize("spec", ["csi://0", "rtsp://host/stream", "http://host/cam", "https://host/cam"])
def test_urls_are_live(spec):
    assert isinstance(open_camera(spec), LiveSource)


@pytest.mark.parametrize("spec", ["clip.mp4", "pictures/", "a*.png", "./0"])
def test_anything_else_is_no_camera(spec):
    assert open_camera(spec) is None


@pytest.mark.parametrize("spec", ["csi://", "csi://a", "csi://0 ! filesink location=x", "csi://10"])
def test_a_csi_camera_is_one_digit(spec):
    with pytest.raises(UsageError, match="a CSI camera is csi://0"):
        open_camera(spec)


def test_the_csi_pipeline_keeps_the_newest_frame():
    pipeline = csi_pipeline(1)
    assert "nvarguscamerasrc sensor-id=1" in pipeline
    assert pipeline.endswith("appsink drop=true max-buffers=1 sync=false")


def test_passwords_do_not_reach_the_log():
    assert without_password("rtsp://me:secret@cam/1") == "rtsp://me:***@cam/1"
    assert open_camera("rtsp://me:secret@cam/1").name == "rtsp://me:***@cam/1"


@pytest.mark.parametrize(
    "url", ["rtsp://u:p@ss@h/x", "rtsp://u:a/b@h/x", "http://h/x?token=secret", "http://u:p@ss@h/x?token=secret"]
)
def test_no_part_of_a_secret_is_shown(url):
    shown = without_password(url)
    assert not any(part in shown for part in ("p@ss", "ss@", "a/b", "secret"))
    assert shown.endswith(("@h/x", "?***"))


def last_fault(spec: str, build: str) -> tuple[str, str]:
    finding, cure = list(diagnose(spec, build))[-1]
    assert cure is not None
    return finding, cure


def test_a_missing_node_is_told_with_what_there_is():
    finding, cure = last_fault("97", NO_GSTREAMER)
    assert finding.startswith("/dev/video97 does not exist (video devices here:")
    assert "--device" in cure


def test_csi_without_gstreamer_names_the_wheel():
    finding, cure = last_fault("csi://0", NO_GSTREAMER)
    assert "without GStreamer" in finding
    assert "pip uninstall opencv-python" in cure and "apt install python3-opencv" in cure


def test_csi_elsewhere_than_on_a_jetson_says_so():
    assert "no Jetson" in last_fault("csi://0", WITH_GSTREAMER)[0]


def test_a_stream_without_ffmpeg_says_so():
    assert "without FFMPEG" in last_fault("rtsp://127.0.0.1/x", WITH_GSTREAMER)[0]


def test_a_malformed_address_says_so():
    assert "malformed" in last_fault("http://127.0.0.1:port/", NO_GSTREAMER)[0]


def test_a_closed_port_says_so():
    assert "127.0.0.1:1 does not answer" in last_fault("http://127.0.0.1:1/", NO_GSTREAMER)[0]


def test_a_missing_file_says_so(tmp_path):
    finding, cure = last_fault(str(tmp_path / "clip.mp4"), NO_GSTREAMER)
    assert "does not exist" in finding and "csi://0" in cure


def test_a_working_stream_has_no_fault():
    from mjpeg_server import MjpegServer

    camera = MjpegServer()
    try:
        findings = list(diagnose(camera.url, NO_GSTREAMER))
    finally:
        camera.die()
    assert [cure for _, cure in findings] == [None, None, None]
    assert findings[-1][0] == "the stream gives a picture"
