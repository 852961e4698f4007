"""gst:// with OpenCV's GStreamer."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sacvit.bundle.errors import DeviceError, UsageError
from sacvit.runtime.sources.frame import OpenOptions
from sacvit.runtime.sources.opening import diagnose

LIVE = "gst://videotestsrc is-live=true"


@pytest.mark.parametrize(
    "spec",
    [
        f"{LIVE} ! video/x-raw,format=I420,width=320,height=240",
        f"{LIVE} ! video/x-raw,format=GRAY8,width=320,height=240 ! appsink",
        f"{LIVE} ! video/x-raw,width=320,height=240 ! jpegenc ! jpegdec",
    ],
)
def test_a_pipeline_gives_bgr_pictures_whatever_its_format_is(take, spec):
    source, frames = take(spec, 3)
    assert [frame.image.shape for frame in frames] == [(240, 320, 3)] * 3
    assert source.live and source.name == "gst://videotestsrc ..."


def test_a_missing_element_is_named(take):
    with pytest.raises(DeviceError, match="no element nosuchdecoder") as fault:
        take(f"{LIVE} ! nosuchdecoder", 1)
    assert fault.value.exit_code == 5 and "gst-inspect-1.0 nosuchdecoder" in str(fault.value)


def test_a_wrong_property_is_a_user_s_mistake(take):
    with pytest.raises(UsageError, match='no property "pattrn"'):
        take("gst://videotestsrc pattrn=ball", 1)


def test_a_device_that_is_missing_is_named(take):
    with pytest.raises(DeviceError, match=r"GStreamer reports: .*/dev/video99"):
        take("gst://v4l2src device=/dev/video99", 1)


def test_a_password_in_a_pipeline_is_not_shown(take, caplog):
    with pytest.raises(DeviceError) as fault:
        take("gst://rtspsrc location=rtsp://user:wr0ng@127.0.0.1:1/x user-pw=wr0ng ! decodebin", 1)
    assert "wr0ng" not in str(fault.value) + caplog.text and "GStreamer reports" in str(fault.value)


def test_a_branch_that_gives_no_bgr_is_refused_with_the_cure(take):
    with pytest.raises(DeviceError, match=r"GRAY8 pictures, not BGR\. Write ! videoconvert"):
        take(f"{LIVE} ! video/x-raw,format=GRAY8 ! tee name=t t. ! queue ! appsink t. ! queue ! fakesink", 1)


def test_a_pipeline_that_is_silent_ends_at_the_limit(take):
    with pytest.raises(DeviceError, match=r"within 1 s \(--open-timeout-s\)"):
        take(f"{LIVE} ! valve drop=true", 1, OpenOptions(open_timeout_s=1))


def test_a_pipeline_that_breaks_is_started_again(take):
    _, frames = take(f"{LIVE} ! identity error-after=5", 12)
    assert len(frames) == 12


def test_a_pipeline_of_known_length_ends(take):
    _, frames = take("gst://videotestsrc num-buffers=5", 12)
    assert 1 <= len(frames) <= 5


def test_a_check_says_what_is_wrong_and_how_large_the_picture_is():
    assert list(diagnose(f"{LIVE} ! video/x-raw,width=320,height=240"))[-1] == (
        "the pipeline gives a picture of 320 x 240",
        None,
    )
    *_, (finding, cure) = diagnose("gst://videotestsrc ! nosuchelement")
    assert "no element nosuchelement" in finding and "plugins" in str(cure)


def test_the_command_checks_a_pipeline():
    code = "import sys; from sacvit.commands.run import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "--check-camera", "gst://v4l2src device=/dev/video99"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 5 and "FAULT gst://v4l2src" in done.stdout
