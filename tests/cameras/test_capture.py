from __future__ import annotations

import pytest

from sacvit.runtime.sources.capture import FPS, FRAME_COUNT, POSITION_MS
from sacvit.runtime.sources.gstreamer.capture import PipelineCapture
from sacvit.runtime.sources.gstreamer.ends import EVERY


@pytest.fixture
def run():
    """Starts a pipeline up to its end; it is released with the test."""
    started = []

    def start(text: str) -> PipelineCapture:
        started.append(PipelineCapture(f"{text} ! {EVERY}", 5.0, 0.3))
        return started[-1]

    yield start
    for capture in started:
        capture.release()


def test_the_error_of_a_pipeline_is_its_fault(run):
    capture = run("v4l2src device=/dev/video99")
    assert not capture.isOpened() and "GStreamer reports: " in capture.fault and "/dev/video99" in capture.fault


def test_an_address_in_an_error_is_masked(run):
    fault = run("uridecodebin uri=1x://u:secret@h/x").fault
    assert "1x://***" in fault and "secret" not in fault


def test_every_picture_comes_with_its_time_and_the_rate(run):
    capture = run("videotestsrc num-buffers=3 ! video/x-raw,framerate=20/1,width=64,height=48")
    times = []
    while capture.read()[0]:
        times.append(capture.get(POSITION_MS))
    assert times == pytest.approx([0, 50, 100])
    assert capture.get(FPS) == 20 and capture.get(FRAME_COUNT) == pytest.approx(3)
    assert capture.fault == "the pipeline has ended"


def test_a_width_that_is_no_multiple_of_four_has_straight_rows(run):
    source = "videotestsrc num-buffers=1 pattern=solid-color foreground-color=0xffc87828"
    ok, image = run(f"{source} ! video/x-raw,width=33,height=20").read()
    assert ok and image.shape == (20, 33, 3)
    assert abs(image.astype(int) - (40, 120, 200)).max() <= 4


def test_a_silent_pipeline_ends_after_its_limit(run):
    capture = run(
        "videotestsrc is-live=true ! identity eos-after=-1 ! valve name=v drop=false ! identity sleep-time=1000000"
    )
    assert capture.isOpened() and capture.read()[0]
    assert capture.read() == (False, None) and "within 0.3 s" in capture.fault
