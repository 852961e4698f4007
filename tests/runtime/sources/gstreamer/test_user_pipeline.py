from __future__ import annotations

import pytest

from sacvit.bundle.errors import DeviceError, UsageError
from sacvit.runtime.sources.frame import OpenOptions
from sacvit.runtime.sources.gstreamer import user_pipeline
from sacvit.runtime.sources.gstreamer.ends import NEWEST, SINK
from sacvit.runtime.sources.gstreamer.user_pipeline import GST, pipeline_of


@pytest.mark.parametrize(
    ("spec", "given"),
    [
        ("gst://videotestsrc", "videotestsrc"),
        ("GST://videotestsrc ! ", "videotestsrc"),
        ("gst://videotestsrc ! queue ! appsink", "videotestsrc ! queue"),
        ("gst://videotestsrc !appsink drop=false sync=true", "videotestsrc"),
    ],
)
def test_a_pipeline_ends_with_our_sink(spec, given):
    assert pipeline_of(spec) == f"{given} ! {NEWEST}"


def test_a_sink_in_a_branch_stays():
    text = "videotestsrc ! tee name=t t. ! queue ! appsink{} t. ! queue ! fakesink"
    assert pipeline_of(f"gst://{text.format('')}") == text.format(f" name={SINK}")


@pytest.mark.parametrize("spec", ["gst://", "gst:// ! appsink", "gst://appsink drop=true"])
def test_an_empty_pipeline_is_refused(spec):
    with pytest.raises(UsageError, match="needs a pipeline"):
        GST.open(spec, OpenOptions())


def test_a_machine_without_gstreamer_says_so(monkeypatch):
    monkeypatch.setattr(user_pipeline, "gstreamer", lambda: None)
    with pytest.raises(DeviceError, match="GStreamer is not installed"):
        GST.open("gst://videotestsrc", OpenOptions())
    *_, (finding, cure) = GST.diagnose("gst://videotestsrc", OpenOptions())
    assert "not installed" in finding and "apt install" in str(cure)
