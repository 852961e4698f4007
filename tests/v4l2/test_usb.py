"""runtime/sources/usb.py against vivid, which has raw formats alone."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest

from sacvit.bundle.errors import DeviceError
from sacvit.runtime.sources import usb
from sacvit.runtime.sources.frame import OpenOptions
from sacvit.runtime.sources.opening import diagnose, open_source

DRIVER = Path("/sys/bus/platform/drivers/vivid")
NOBODY = 65534


# vivid draws white, yellow, cyan, green, magenta, red, blue and black: here as BGR, 1 for bright.
BARS = [(1, 1, 1), (0, 1, 1), (1, 1, 0), (0, 1, 0), (1, 0, 1), (0, 0, 1), (1, 0, 0), (0, 0, 0)]


def bars_of(image) -> list[tuple[int, ...]]:
    row = image[image.shape[0] * 3 // 4]
    return [tuple(map(int, row[int((place + 0.5) * row.shape[0] / 8)] > 110)) for place in range(8)]


@pytest.fixture
def camera():
    source = open_source("0", OpenOptions(stall_timeout_s=3.0))
    yield source
    source.close()


# vivid has 12.5 and 5 frames per second at the most for the larger sizes, as USB 2 has for raw pictures.
@pytest.mark.parametrize(
    ("width", "height", "asked", "rate"),
    [(320, 180, 30, 30), (640, 480, 15, 15), (1280, 720, 30, 12.5), (1920, 1080, 30, 5)],
)
def test_a_camera_gives_pictures_of_the_size_that_it_is_asked_for(monkeypatch, width, height, asked, rate):
    for name, value in (("WIDTH", width), ("HEIGHT", height), ("RATE", asked)):
        monkeypatch.setattr(usb, name, value)
    capture = usb.open_v4l2(Path("/dev/video0"), OpenOptions())
    ok, image = capture.read()
    given = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    assert ok and image.shape == (height, width, 3) and given == pytest.approx(rate)


def test_pictures_have_their_colours(camera):
    assert bars_of(next(iter(camera)).image) == BARS


def test_a_bayer_format_that_another_program_left_is_replaced(camera):
    subprocess.run(["v4l2-ctl", "-d", "/dev/video0", "--set-fmt-video", "pixelformat=BA81"], check=True)
    image = next(iter(camera)).image
    assert image.shape == (usb.HEIGHT, usb.WIDTH, 3) and bars_of(image) == BARS


def test_a_camera_that_is_unplugged_for_a_moment_comes_back(camera, control):
    frames = iter(camera)
    next(frames)
    control("disconnect", 1)
    assert len(list(itertools.islice(frames, 10))) == 10


def test_a_camera_whose_node_vanishes_and_returns_comes_back(camera):
    frames = iter(camera)
    list(itertools.islice(frames, 5))
    camera.report_losses(lambda stream, message: (DRIVER / "bind").write_text("vivid.0"))
    (DRIVER / "unbind").write_text("vivid.0")
    while camera.losses == 0:
        next(frames)
    assert len(list(itertools.islice(frames, 5))) == 5


def test_a_camera_that_gives_no_frame_for_a_while_comes_back(camera, control):
    frames = iter(camera)
    list(itertools.islice(frames, 5))
    camera.report_losses(lambda stream, message: control("percentage_of_dropped_buffers", 0))
    control("percentage_of_dropped_buffers", 100, after=0)
    while camera.losses == 0:
        next(frames)
    assert len(list(itertools.islice(frames, 5))) == 5


def test_a_driver_s_error_while_it_runs_is_survived(camera, control):
    frames = iter(camera)
    next(frames)
    control("inject_fatal_streaming_error", 1)
    assert len(list(itertools.islice(frames, 10))) == 10


def test_a_camera_that_another_program_reads_is_named():
    other = cv2.VideoCapture("/dev/video0", cv2.CAP_V4L2)
    assert other.read()[0]
    with pytest.raises(DeviceError, match="fuser -v /dev/video0") as fault:
        next(iter(open_source("0", OpenOptions(open_timeout_s=20))))
    other.release()
    assert fault.value.exit_code == 5


def test_a_node_of_another_user_is_named():
    code = (
        "import os; from sacvit.runtime.sources.opening import diagnose\n"
        f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY}); print(*list(diagnose('0'))[-1])"
    )
    Path("/dev/video0").chmod(0o660)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert "is not open to this user" in done.stdout and "usermod -aG video" in done.stdout


def test_a_node_that_is_missing_is_named():
    with pytest.raises(
        DeviceError, match=r"/dev/video9 does not exist \(video devices here: /dev/video0, /dev/video7\)"
    ):
        next(iter(open_source("9")))


def test_a_check_of_a_working_camera_finds_no_fault():
    findings = list(diagnose("0"))
    assert [cure for _, cure in findings] == [None] * len(findings)
    assert findings[-1][0] == f"it gives a picture of {usb.WIDTH} x {usb.HEIGHT}"


def test_a_frame_is_young_when_it_is_handed_over_to_a_slow_consumer(camera, capsys):
    ages_s = []
    for frame in itertools.islice(camera, 12):
        ages_s.append(time.monotonic() - frame.taken_s)
        time.sleep(0.3)
    with capsys.disabled():
        print(
            f"age at the hand-over, median and largest: {1e3 * sorted(ages_s)[6]:.0f} and {1e3 * max(ages_s):.0f} ms",
            end=" ",
        )
    assert camera.dropped > 0
