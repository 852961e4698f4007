"""CSI cameras of a Jetson, through GStreamer and NVIDIA's Argus; and why one gives no picture."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ...bundle.errors import UsageError
from .capture import Capture, opencv_has
from .frame import Finding, OpenOptions, Source, SourceKind, first_cause
from .live import LiveSource

WIDTH, HEIGHT, RATE = 1280, 720, 30  # what the sensor is asked for; jetson-inference's default size
ARGUS_SOCKET = "/tmp/argus_socket"  # noqa: S108 - where NVIDIA's camera daemon puts it


def matches(spec: str) -> bool:
    return spec.lower().startswith("csi://")


def open_csi(spec: str, options: OpenOptions) -> Source:
    """Raises UsageError for anything but csi:// and one digit: the text goes into a GStreamer pipeline."""
    sensor = spec[len("csi://") :]
    if not re.fullmatch(r"[0-9]", sensor):
        raise UsageError(f"{spec}: a CSI camera is csi://0 or another single digit, its sensor id")
    return LiveSource(
        f"csi://{sensor}",
        lambda allowed_s: open_argus(int(sensor)),
        lambda: first_cause(diagnose(spec, options), "Everything that can be checked looks right"),
        options,
    )


def open_argus(sensor: int) -> Capture:
    import cv2

    return cv2.VideoCapture(csi_pipeline(sensor), cv2.CAP_GSTREAMER)


def csi_pipeline(sensor: int) -> str:
    """GStreamer's pipeline for a CSI sensor on a Jetson: ISP, scaler, BGR in system memory, newest frame only."""
    return (
        f"nvarguscamerasrc sensor-id={sensor} ! "
        f"video/x-raw(memory:NVMM), width={WIDTH}, height={HEIGHT}, framerate={RATE}/1 ! "
        "nvvidconv ! video/x-raw, format=BGRx ! videoconvert ! video/x-raw, format=BGR ! "
        "appsink drop=true max-buffers=1 sync=false"
    )


def diagnose(spec: str, options: OpenOptions) -> Iterator[Finding]:
    if not opencv_has("GStreamer"):
        yield (
            "this OpenCV was built without GStreamer, which CSI cameras need",
            "Remove the wheel and use JetPack's own: pip uninstall opencv-python opencv-python-headless;"
            " sudo apt install python3-opencv; make the environment with --system-site-packages",
        )
        return
    yield "OpenCV has GStreamer", None
    if not Path("/etc/nv_tegra_release").is_file():
        yield "this machine is no Jetson (no /etc/nv_tegra_release)", "csi:// works on a Jetson only"
        return
    yield "this is a Jetson", None
    if not Path(ARGUS_SOCKET).exists():
        cure = f"sudo systemctl restart nvargus-daemon; in a container, mount {ARGUS_SOCKET}"
        yield "the camera daemon nvargus-daemon is not running", cure
        return
    yield "nvargus-daemon is running", None


CSI = SourceKind("csi://0: a CSI camera of a Jetson", matches, open_csi, diagnose)
