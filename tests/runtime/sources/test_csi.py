from __future__ import annotations

import pytest

from sacvit.bundle.errors import UsageError
from sacvit.runtime.sources import csi
from sacvit.runtime.sources.csi import CSI, csi_pipeline
from sacvit.runtime.sources.frame import OpenOptions


def last_fault(monkeypatch, has_gstreamer: bool) -> tuple[str, str]:
    monkeypatch.setattr(csi, "opencv_has", lambda feature: has_gstreamer)
    finding, cure = list(CSI.diagnose("csi://0", OpenOptions()))[-1]
    assert cure is not None
    return finding, cure


@pytest.mark.parametrize("spec", ["csi://", "csi://a", "csi://0 ! filesink location=x", "csi://10", "csi://٣"])
def test_a_camera_is_one_digit(spec):
    with pytest.raises(UsageError, match="csi://0"):
        CSI.open(spec, OpenOptions())


def test_the_pipeline_keeps_the_newest_frame():
    pipeline = csi_pipeline(1)
    assert "nvarguscamerasrc sensor-id=1" in pipeline
    assert pipeline.endswith("appsink drop=true max-buffers=1 sync=false")


def test_without_gstreamer_the_wheel_is_named(monkeypatch):
    finding, cure = last_fault(monkeypatch, False)
    assert "GStreamer" in finding
    assert "pip uninstall opencv-python" in cure and "apt install python3-opencv" in cure


def test_elsewhere_than_on_a_jetson_says_so(monkeypatch):
    assert "no Jetson" in last_fault(monkeypatch, True)[0]
