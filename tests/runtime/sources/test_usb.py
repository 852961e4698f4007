from __future__ import annotations

import re

import pytest

from sacvit.runtime.sources.frame import OpenOptions
from sacvit.runtime.sources.usb import USB, node_of


@pytest.mark.parametrize("spec", ["0", "12", "/dev/video3", "v4l2:///dev/video0"])
def test_a_number_or_a_node_is_a_camera(spec):
    assert USB.matches(spec)
    assert str(node_of(spec)) == f"/dev/video{re.findall(r'(?<!v4l)[0-9]+$', spec)[0]}"


@pytest.mark.parametrize("spec", ["./0", "0.png", "1234", "/dev/video"])
def test_anything_else_is_none(spec):
    assert not USB.matches(spec)


def test_a_missing_node_is_reported_with_what_there_is():
    ((finding, cure),) = USB.diagnose("97", OpenOptions())
    assert finding.startswith("/dev/video97 does not exist (video devices here:")
    assert "--device" in cure


def test_a_node_that_is_no_camera_does_not_open(tmp_path, monkeypatch):
    from sacvit.runtime.sources import usb

    (tmp_path / "video0").write_bytes(b"")
    monkeypatch.setattr(usb, "node_of", lambda spec: tmp_path / "video0")
    *before, (finding, cure) = USB.diagnose("0", OpenOptions())
    assert all(fine is None for _, fine in before) and finding == "it does not open" and "fuser" in cure
