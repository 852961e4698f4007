"""gst://PIPELINE: whatever GStreamer can read, as a user writes it; and why it gives no picture.

The text can read and write files: it is as trusted as a shell command. No shell sees it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ....bundle.errors import DeviceError, UsageError
from ..address import without_password
from ..capture import Capture
from ..frame import Finding, OpenOptions, Source, SourceKind
from ..live import LiveSource
from .capture import PipelineCapture
from .ends import NEWEST, SINK
from .library import NO_ELEMENT, PipelineError, check_syntax, gstreamer

SCHEME = "gst://"
LAST_SINK = r"(?:^|!)\s*appsink(?:\s[^!]*)?$"
INSTALL = "sudo apt install libgstreamer1.0-0 gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-libav"


def matches(spec: str) -> bool:
    return spec.lower().startswith(SCHEME)


def pipeline_of(spec: str) -> str:
    """The pipeline with our end: an appsink at its end is replaced by one that gives the newest picture as BGR.

    Raises UsageError for an empty one.
    """
    given = re.sub(LAST_SINK, "", spec[len(SCHEME) :].strip()).rstrip("! \t\n")
    if not given:
        raise UsageError(
            f"{SCHEME} needs a pipeline, such as '{SCHEME}v4l2src device=/dev/video0 ! image/jpeg ! jpegdec'"
        )
    # An appsink elsewhere belongs to a pipeline of several branches, which has no end to append to.
    named, count = re.subn(r"(!\s*appsink)\b", rf"\1 name={SINK}", given, count=1)
    return named if count else f"{given} ! {NEWEST}"


class _Opener:
    """Opens the pipeline. fault: why the last attempt gave no picture."""

    def __init__(self, text: str, options: OpenOptions) -> None:
        self._text, self._options, self.fault = text, options, ""

    def __call__(self, allowed_s: float) -> Capture:
        capture = PipelineCapture(self._text, allowed_s, self._options.read_timeout_s)
        self.fault = capture.fault
        if capture.is_silent:  # the next attempt may succeed
            capture.release()
            raise TimeoutError(capture.fault)
        return capture

    def describe(self) -> str:
        return (
            f"{self.fault[:1].upper()}{self.fault[1:]}. Try the pipeline with gst-launch-1.0, with fakesink at its end"
        )


def open_user_pipeline(spec: str, options: OpenOptions) -> Source:
    """Raises UsageError for a pipeline that GStreamer cannot make, DeviceError without GStreamer or one of its elements."""
    text, name = pipeline_of(spec), without_password(spec)
    if gstreamer() is None:
        raise DeviceError(f"{name}: GStreamer is not installed. Install it: {INSTALL}")
    try:
        check_syntax(text)
    except PipelineError as reason:
        missing = re.fullmatch(r'no element "([\w-]+)"', str(reason)) if reason.code == NO_ELEMENT else None
        if missing:
            raise DeviceError(
                f"{name}: GStreamer has no element {missing[1]}. Install the plugins that contain it; then"
                f" gst-inspect-1.0 {missing[1]} shows it"
            ) from None
        raise UsageError(f"{name}: GStreamer reports: {reason}. Try the pipeline with gst-launch-1.0") from None
    opener = _Opener(text, options)
    return LiveSource(name, opener, opener.describe, options)


def diagnose(spec: str, options: OpenOptions) -> Iterator[Finding]:
    try:
        source = open_user_pipeline(spec, options)
        yield "GStreamer can make the pipeline", None
        try:
            frame = next(iter(source), None)
        finally:
            source.close()
    except (UsageError, DeviceError) as reason:
        finding, _, cure = str(reason).rpartition(". ")
        yield finding, cure
        return
    if frame is None:
        yield "the pipeline ends without a picture", "Try it with gst-launch-1.0"
        return
    yield f"the pipeline gives a picture of {frame.image.shape[1]} x {frame.image.shape[0]}", None


GST = SourceKind(
    "gst://PIPELINE: a pipeline of GStreamer, such as 'gst://videotestsrc is-live=true'",
    matches,
    open_user_pipeline,
    diagnose,
)
