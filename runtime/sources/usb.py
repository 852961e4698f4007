"""USB and other V4L2 cameras; and why one gives no picture."""

from __future__ import annotations

import glob
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

from .capture import Capture
from .frame import Finding, OpenOptions, Source, SourceKind, first_cause
from .live import LiveSource

WIDTH, HEIGHT, RATE = 1280, 720, 30  # what cameras are asked for; jetson-inference's default size
SELECT_S = 3  # for a read to wait for a frame: OpenCV's own 10 s would delay the next attempt after a stall


def node_of(spec: str) -> Path | None:
    """The device node that 0, /dev/video0 or v4l2:///dev/video0 name, or None."""
    match = re.fullmatch(r"(?:v4l2://)?(?:/dev/video)?(\d{1,3})", spec)
    return Path(f"/dev/video{match[1]}") if match else None


def matches(spec: str) -> bool:
    return node_of(spec) is not None


def open_usb(spec: str, options: OpenOptions) -> Source:
    node = node_of(spec)
    assert node is not None
    return LiveSource(
        str(node),
        lambda allowed_s: open_v4l2(node, options),
        lambda: first_cause(diagnose(spec, options), "It gives a picture now"),
        options,
    )


def open_v4l2(node: Path, options: OpenOptions) -> Capture:
    import cv2

    # OpenCV reads it once, when the first camera is opened.
    os.environ.setdefault(
        "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", str(max(SELECT_S, math.ceil(options.stall_timeout_s or 0)))
    )
    capture = cv2.VideoCapture(str(node), cv2.CAP_V4L2)
    if capture.isOpened():
        # MJPG: most USB cameras give raw frames of this size at 5 to 10 per second only.
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        for key, value in (
            (cv2.CAP_PROP_FRAME_WIDTH, WIDTH),
            (cv2.CAP_PROP_FRAME_HEIGHT, HEIGHT),
            (cv2.CAP_PROP_FPS, RATE),
            (cv2.CAP_PROP_BUFFERSIZE, 1),
        ):
            capture.set(key, value)
    return capture


def diagnose(spec: str, options: OpenOptions) -> Iterator[Finding]:
    node = node_of(spec)
    assert node is not None
    if not node.exists():
        others = ", ".join(sorted(glob.glob("/dev/video*"))) or "none"
        yield (
            f"{node} does not exist (video devices here: {others})",
            "Plug the camera in; in a container, pass it on with --device",
        )
        return
    yield f"{node} exists", None
    if not os.access(node, os.R_OK | os.W_OK):
        cure = "Join the group video: sudo usermod -aG video $USER, then log in again"
        yield f"{node} is not open to this user", cure
        return
    yield f"{node} is readable and writable", None
    driver = Path("/sys/class/video4linux") / node.name / "name"
    name = driver.read_text().strip() if driver.is_file() else "unknown driver"
    if name.startswith("vi-output"):
        yield (
            f"{node} is the raw sensor of a CSI camera ({name}): it gives Bayer data, no pictures",
            f"Use csi://{re.sub(r'[^0-9]', '', node.name)} instead",
        )
        return
    yield f"the driver calls it {name}", None
    capture = open_v4l2(node, options)
    try:
        if not capture.isOpened():
            yield "it does not open", f"Another program may hold it; see: fuser -v {node}"
            return
        yield "it opens", None
        ok, image = capture.read()
        if ok:
            yield f"it gives a picture of {image.shape[1]} x {image.shape[0]}", None
        else:
            yield "it gives no picture", "Unplug it and plug it in again; try another USB port, without a hub"
    finally:
        capture.release()


USB = SourceKind("0 or /dev/video0: a USB or other V4L2 camera", matches, open_usb, diagnose)
