"""runtime/sources/usb.py against v4l2loopback, to which ffmpeg writes MJPEG: as most USB cameras give it."""

from __future__ import annotations

import itertools
import signal
import subprocess
import time
from pathlib import Path

import cv2
import pytest

from sacvit.runtime.sources import usb
from sacvit.runtime.sources.frame import OpenOptions
from sacvit.runtime.sources.opening import diagnose, open_source

NODE = Path("/dev/video7")
WRITER = (
    *("ffmpeg", "-v", "error", "-re", "-f", "lavfi", "-i", "testsrc=size=640x360:rate=10"),
    *("-c:v", "mjpeg", "-q:v", "5", "-pix_fmt", "yuvj422p", "-f", "v4l2", str(NODE)),
)
START_S = 60.0  # for ffmpeg, in a machine that is emulated


@pytest.fixture(scope="module")
def writer():
    """ffmpeg, when the node gives pictures."""
    with subprocess.Popen(WRITER) as process:
        until, shown = time.monotonic() + START_S, b""
        while b"Video Capture" not in shown:
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.2)
            shown = subprocess.run(["v4l2-ctl", "-d", str(NODE), "-D"], capture_output=True, check=False).stdout
        yield process
        process.kill()


def test_mjpeg_is_read_as_such(writer):
    capture = usb.open_v4l2(NODE, OpenOptions())
    fourcc, (ok, image) = int(capture.get(cv2.CAP_PROP_FOURCC)), capture.read()
    capture.release()
    assert fourcc.to_bytes(4, "little") == b"MJPG" and ok and image.shape == (360, 640, 3)


def test_a_check_finds_no_fault(writer):
    findings = list(diagnose("7"))
    assert [cure for _, cure in findings] == [None] * len(findings)
    assert findings[-1][0] == "it gives a picture of 640 x 360"


def test_a_camera_that_stops_and_returns_comes_back(writer):
    source = open_source("7", OpenOptions(stall_timeout_s=3.0))
    frames = iter(source)
    list(itertools.islice(frames, 5))
    source.report_losses(lambda stream, message: writer.send_signal(signal.SIGCONT))
    writer.send_signal(signal.SIGSTOP)
    while source.losses == 0:
        next(frames)
    assert len(list(itertools.islice(frames, 5))) == 5
    source.close()
