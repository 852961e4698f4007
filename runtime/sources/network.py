"""Network streams: RTSP and RTSP over TLS, MJPEG, HLS and files over HTTP; and why one gives no picture."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

from ...bundle.errors import DeviceError, UsageError
from .address import PORTS, Address, parse_address, scheme_of
from .capture import Capture, announced_frames, opencv_has, rtsp_options
from .frame import Finding, OpenOptions, Source, SourceKind, first_cause
from .gstreamer.rtsp import RtspOpener
from .live import LiveSource
from .probe import CREDENTIALS_ASKED, Reply, ask, connect
from .video import VideoFile

# FFmpeg's decoders hold back a frame per thread: at 5 frames per second and 12 threads 2.4 s. We assume that one thread of an
# Orin Nano keeps up with 1080p; larger pictures get more threads.
PIXELS_PER_THREAD = 1920 * 1080
NOT_FOUND = 404
UNDECODED = (
    "The server answers, but it sent no picture that FFmpeg can decode. If it is MJPEG without a boundary in front of the first"
    " picture, set OPENCV_FFMPEG_CAPTURE_OPTIONS='input_format;mjpeg|analyzeduration;1|fpsprobesize;0' for this run"
)
HLS_STALL_S = 30.0  # a playlist gives segments of up to 10 s at once; opening it anew would repeat the last ones


def matches(spec: str) -> bool:
    return scheme_of(spec) in PORTS


def open_network(spec: str, options: OpenOptions) -> Source:
    """A live stream, or every frame of a stream that ends: a file over HTTP, an HLS playlist with an end."""
    address = parse_address(spec)
    if address.scheme.startswith("http"):
        reply = _answer_of(address)
        if _ends(reply, address, options):
            return VideoFile(address.shown, lambda: open_stream(address, options, options.open_timeout_s), options.loop)
        if _is_playlist(reply) and options.stall_timeout_s is None:
            options = replace(options, stall_timeout_s=HLS_STALL_S)
        opener: Callable[[float], Capture] = partial(open_stream, address, options)
    else:
        opener = RtspOpener(address, options, partial(open_stream, address, options))
    return LiveSource(address.shown, opener, lambda: first_cause(_checks(address), UNDECODED), options)


def open_stream(address: Address, options: OpenOptions, allowed_s: float) -> Capture:
    """The stream through FFmpeg, with as few decoder threads as its size allows. Raises OSError when its server gives none.

    We connect to the server first: this fails after seconds where FFmpeg would wait for the whole time allowed.
    """
    connect(address).close()
    began = time.monotonic()
    capture = _open_with_threads(address, options, allowed_s, 1)
    if time.monotonic() - began >= allowed_s:  # FFmpeg then calls it open, with or without a picture
        capture.release()
        raise TimeoutError(f"no picture within {allowed_s:g} s")
    pixels = capture.get(3) * capture.get(4)  # CAP_PROP_FRAME_WIDTH, CAP_PROP_FRAME_HEIGHT
    threads = min(math.ceil(pixels / PIXELS_PER_THREAD), os.cpu_count() or 1)
    if capture.isOpened() and threads > 1:
        capture.release()
        capture = _open_with_threads(address, options, allowed_s, threads)
    return capture


def _open_with_threads(address: Address, options: OpenOptions, allowed_s: float, threads: int) -> Capture:
    import cv2

    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(1e3 * allowed_s)]
    limits += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(1e3 * options.read_timeout_s)]
    if hasattr(cv2, "CAP_PROP_N_THREADS"):  # OpenCV 4.7 and newer
        limits += [cv2.CAP_PROP_N_THREADS, threads]
    with rtsp_options() if address.scheme.startswith("rtsp") else nullcontext():
        return cv2.VideoCapture(address.url, cv2.CAP_FFMPEG, limits)


def _answer_of(address: Address) -> Reply:
    """An HTTP server's answer; status 0 where there is none, since cameras may be off for a while."""
    try:
        return ask(address)
    except (OSError, ValueError, UsageError):
        return Reply(0, "", {}, "")


def _is_playlist(reply: Reply) -> bool:
    return "mpegurl" in reply.headers.get("content-type", "").lower()


def _ends(reply: Reply, address: Address, options: OpenOptions) -> bool:
    """Whether an HTTP server's stream has an end: by its length, or by FFmpeg's number of frames. MJPEG has none."""
    if reply.status != 200 or reply.headers.get("content-type", "").lower().startswith("multipart/"):
        return False
    if "content-length" in reply.headers and not _is_playlist(reply):
        return True
    capture = _open_with_threads(address, options, options.open_timeout_s, 1)
    try:
        return announced_frames(capture) is not None
    finally:
        capture.release()


def diagnose(spec: str, options: OpenOptions) -> Iterator[Finding]:
    try:
        address = parse_address(spec)
    except UsageError as reason:
        yield str(reason), f"Write it as {scheme_of(spec)}://host:port/path"
        return
    for finding, cure in _checks(address):
        yield finding, cure
        if cure is not None:
            return
    by_ffmpeg = partial(open_stream, address, options)
    opener = RtspOpener(address, options, by_ffmpeg) if address.scheme.startswith("rtsp") else None
    source = LiveSource(address.shown, opener or by_ffmpeg, str, options)
    try:
        ok = next(iter(source), None) is not None
    except DeviceError:
        ok = False
    finally:
        source.close()
    cure = (
        "Raise --open-timeout-s if the camera is slow; http:// must give MJPEG or a video. Try the address with ffplay"
    )
    limit = f" within {options.open_timeout_s:g} s (--open-timeout-s)"
    way = f", decoded by {opener.way}" if opener else ""
    yield f"the stream gives {'a picture' + way if ok else 'no picture' + limit}", None if ok else cure


def _checks(address: Address) -> Iterator[Finding]:
    """Checks that need no decoder."""
    if not opencv_has("FFMPEG"):
        yield "this OpenCV was built without FFMPEG, which network streams need", "Install opencv-python from PyPI"
        return
    yield "OpenCV has FFMPEG", None
    try:
        connect(address).close()
    except OSError as reason:
        cure = "Check the address, the network and that the camera is on"
        yield f"{address.place} does not answer: {reason.strerror or reason}", cure
        return
    yield f"{address.place} answers", None
    protocol = "RTSP" if address.scheme.startswith("rtsp") else "HTTP"
    try:
        yield _judge(ask(address), address)
    except (OSError, ValueError) as reason:
        yield f"{address.place} does not speak {address.scheme}: {reason}", f"Check that this is the {protocol} port"


def _judge(reply: Reply, address: Address) -> Finding:
    """The finding of a server's status."""
    status = f"{address.place} answers {reply.status} {reply.reason}".strip()
    if reply.status == CREDENTIALS_ASKED and address.user is None:
        return (
            status,
            f"The camera asks for a user and a password: {address.scheme}://user:password@{address.place}/path",
        )
    if reply.status == CREDENTIALS_ASKED:
        return status, "The camera refuses this user or password. Write special characters percent-encoded, @ as %40"
    if reply.status == NOT_FOUND:
        return status, "The camera has nothing at this path. Look the stream's path up in its manual"
    if reply.status != 200:
        return status, "The server refuses the stream for now; another client may hold it"
    if address.scheme.startswith("rtsp") and "m=video" not in reply.body:
        return f"{status}, but describes no video", "Choose the path of a video stream"
    return status, None


NETWORK = SourceKind(
    "rtsp://host/path, rtsps://, http:// or https:// (MJPEG, HLS, a video): a network stream",
    matches,
    open_network,
    diagnose,
)
