"""Cameras by OpenCV: V4L2, Jetson's CSI through GStreamer, RTSP and MJPEG over HTTP; and why one does not open."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from pathlib import Path

import cv2

from ...bundle.errors import UsageError
from .live import Capture, LiveSource

WIDTH, HEIGHT, RATE = 1280, 720, 30  # what cameras are asked for; jetson-inference's default size
HTTP_OPEN_MS, HTTP_READ_MS = 1000, 1000  # a stream on a local network answers in tens of milliseconds
RTSP_OPEN_MS, RTSP_READ_MS = 5000, 2000  # RTSP waits for a key frame

ARGUS_SOCKET = "/tmp/argus_socket"  # noqa: S108 - where NVIDIA's camera daemon puts it

os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "1")  # seconds; OpenCV's 10 outlasts every stall


def csi_pipeline(sensor: int) -> str:
    """GStreamer's pipeline for a CSI sensor on a Jetson: ISP, scaler, BGR in system memory, newest frame only."""
    return (
        f"nvarguscamerasrc sensor-id={sensor} ! "
        f"video/x-raw(memory:NVMM), width={WIDTH}, height={HEIGHT}, framerate={RATE}/1 ! "
        "nvvidconv ! video/x-raw, format=BGRx ! videoconvert ! video/x-raw, format=BGR ! "
        "appsink drop=true max-buffers=1 sync=false"
    )


def open_camera(spec: str) -> LiveSource | None:
    """The live source that `spec` names, or None when it names none: it is a file then.

    Raises UsageError for a malformed name.
    """
    if match := re.fullmatch(r"(?:v4l2://)?(?:/dev/video)?(\d{1,3})", spec):
        node = Path(f"/dev/video{match[1]}")
        return LiveSource(str(node), lambda: open_v4l2(node), lambda: first_cause(spec))
    if spec.startswith("csi://"):
        sensor = spec.removeprefix("csi://")
        if not re.fullmatch(r"\d", sensor):
            raise UsageError(f"{spec}: a CSI camera is csi://0 or another single digit, its sensor id")
        pipeline = csi_pipeline(int(sensor))
        return LiveSource(spec, lambda: cv2.VideoCapture(pipeline, cv2.CAP_GSTREAMER), lambda: first_cause(spec))
    if spec.startswith(("rtsp://", "http://", "https://")):
        times = (RTSP_OPEN_MS, RTSP_READ_MS) if spec.startswith("rtsp") else (HTTP_OPEN_MS, HTTP_READ_MS)
        return LiveSource(without_password(spec), lambda: open_stream(spec, *times), lambda: first_cause(spec))
    return None


def open_v4l2(node: Path) -> Capture:
    capture = cv2.VideoCapture(str(node), cv2.CAP_V4L2)
    if capture.isOpened():
        # MJPG: most USB cameras give raw frames of this size at 5 to 10 a second only.
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        for key, value in (
            (cv2.CAP_PROP_FRAME_WIDTH, WIDTH),
            (cv2.CAP_PROP_FRAME_HEIGHT, HEIGHT),
            (cv2.CAP_PROP_FPS, RATE),
            (cv2.CAP_PROP_BUFFERSIZE, 1),
        ):
            capture.set(key, value)
    return capture


def open_stream(url: str, open_ms: int, read_ms: int) -> Capture:
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, open_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, read_ms]
    return cv2.VideoCapture(url, cv2.CAP_FFMPEG, limits)


def without_password(url: str) -> str:
    """The URL as logs may show it: without password and query. The last @ ends the password, whatever stands in it."""
    shown = re.sub(r"(://[^@:/]*):.*@", r"\1:***@", url)
    return re.sub(r"\?.*", "?***", shown)


def first_cause(spec: str) -> str:
    """The first thing that `diagnose` finds wrong, for an error message."""
    for finding, cure in diagnose(spec):
        if cure is not None:
            return f"{finding}. {cure}"
    return f"Everything that can be checked looks right; see sacvit-run --check-camera {without_password(spec)}"


def diagnose(spec: str, build: str | None = None) -> Iterator[tuple[str, str | None]]:
    """What was checked about a camera, in order: a finding, and its cure, or None where all is well.

    build: OpenCV's build information, asked from OpenCV when it is not given.
    """
    build = cv2.getBuildInformation() if build is None else build
    if match := re.fullmatch(r"(?:v4l2://)?(?:/dev/video)?(\d{1,3})", spec):
        yield from _diagnose_v4l2(Path(f"/dev/video{match[1]}"))
    elif spec.startswith("csi://"):
        yield from _diagnose_csi(build)
    elif spec.startswith(("rtsp://", "http://", "https://")):
        yield from _diagnose_network(spec, build)
    else:
        path = Path(spec)
        cure = None if path.exists() else "Give a camera (0, csi://0, rtsp://..., http://...) or an existing file"
        yield f"{spec} is read as a file, which {'exists' if cure is None else 'does not exist'}", cure


def _diagnose_v4l2(node: Path) -> Iterator[tuple[str, str | None]]:
    if not node.exists():
        others = ", ".join(sorted(glob.glob("/dev/video*"))) or "none"
        yield (
            f"{node} does not exist (video devices here: {others})",
            ("Plug the camera in; in a container, pass it on with --device"),
        )
        return
    yield f"{node} exists", None
    if not os.access(node, os.R_OK | os.W_OK):
        yield (
            f"{node} is not open to this user",
            "Join the group video: sudo usermod -aG video $USER, then log in again",
        )
        return
    yield f"{node} is readable and writable", None
    driver = Path("/sys/class/video4linux") / node.name / "name"
    name = driver.read_text().strip() if driver.is_file() else "unknown driver"
    if name.startswith("vi-output"):
        yield (
            f"{node} is the raw sensor of a CSI camera ({name}): it gives Bayer data, no pictures",
            (f"Use csi://{re.sub(r'[^0-9]', '', node.name)} instead"),
        )
        return
    yield f"the driver calls it {name}", None
    capture = open_v4l2(node)
    try:
        opened = capture.isOpened()
        yield (
            (f"it {'opens' if opened else 'does not open'}"),
            (None if opened else f"Another program may hold it; see: fuser -v {node}"),
        )
        if opened:
            ok, image = capture.read()
            size = f" of {image.shape[1]} x {image.shape[0]}" if ok else ""
            yield (
                f"it gives {'a picture' if ok else 'no picture'}{size}",
                (None if ok else "Unplug it and plug it in again; try another USB port, without a hub"),
            )
    finally:
        capture.release()


def _diagnose_csi(build: str) -> Iterator[tuple[str, str | None]]:
    if not re.search(r"GStreamer:\s+YES", build):
        yield (
            "this OpenCV was built without GStreamer, which CSI cameras need",
            (
                "Remove the wheel and use JetPack's own: pip uninstall opencv-python opencv-python-headless;"
                " sudo apt install python3-opencv; make the environment with --system-site-packages"
            ),
        )
        return
    yield "OpenCV has GStreamer", None
    if not Path("/etc/nv_tegra_release").is_file():
        yield "this machine is no Jetson (no /etc/nv_tegra_release)", "csi:// works on a Jetson only"
        return
    yield "this is a Jetson", None
    if not Path(ARGUS_SOCKET).exists():
        yield (
            "the camera daemon nvargus-daemon is not running",
            (f"sudo systemctl restart nvargus-daemon; in a container, mount {ARGUS_SOCKET}"),
        )
        return
    yield "nvargus-daemon is running", None


def _diagnose_network(spec: str, build: str) -> Iterator[tuple[str, str | None]]:
    import socket
    from urllib.parse import urlsplit

    if not re.search(r"FFMPEG:\s+YES", build):
        yield "this OpenCV was built without FFMPEG, which network streams need", "Install opencv-python from PyPI"
        return
    yield "OpenCV has FFMPEG", None
    try:
        parts = urlsplit(spec)
        host, port = parts.hostname, parts.port or {"rtsp": 554, "http": 80, "https": 443}[parts.scheme]
    except ValueError:  # whose text would quote a password
        host, port = None, 0
    if not host:
        yield f"the address {without_password(spec)} is malformed", "Write it as rtsp://host:port/path"
        return
    try:
        socket.create_connection((host, port), timeout=3).close()
    except (OSError, UnicodeError) as reason:
        yield f"{host}:{port} does not answer: {reason}", "Check the address, the network and that the camera is on"
        return
    yield f"{host}:{port} answers", None
    capture = open_stream(spec, RTSP_OPEN_MS, RTSP_READ_MS)
    try:
        ok = capture.isOpened() and capture.read()[0]
    finally:
        capture.release()
    yield (
        f"the stream gives {'a picture' if ok else 'no picture'}",
        (None if ok else "Check path, user and password; http:// must be an MJPEG stream. Try it with ffplay"),
    )
