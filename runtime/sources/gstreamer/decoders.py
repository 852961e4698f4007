"""The decoders of GStreamer, best first: hardware that a trial has shown to work here, then software."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache

from .ends import EVERY, quoted
from .library import has_element
from .samples import COLOUR, H264, H265, JPEG

TRIAL_S = 10.0  # for a process that starts and decodes one picture; a driver that hangs is not waited for
TOLERANCE = 6.0  # grey levels: decoders differ in rounding, and a wrong order of channels is 160 off
NVIDIA_CONVERT = "nvvidconv ! video/x-raw,format=BGRx"  # makes no BGR


@dataclass(frozen=True)
class Decoder:
    """element: with its properties. convert: what brings its pictures into system memory.

    without_reordering: a property for streams whose pictures come in the order in which they are shown.
    """

    element: str
    convert: str = ""
    is_hardware: bool = True
    without_reordering: str = ""

    @property
    def name(self) -> str:
        return self.element.split()[0]

    @property
    def words(self) -> str:
        """For people, such as `GStreamer (nvv4l2decoder, hardware)`."""
        return f"GStreamer ({self.name}, {'hardware' if self.is_hardware else 'software'})"

    def text(self, is_reordered: bool = True) -> str:
        """Its part of a pipeline."""
        element = self.element if is_reordered else f"{self.element} {self.without_reordering}".strip()
        return f"{element} ! {self.convert}" if self.convert else element


@dataclass(frozen=True)
class Codec:
    """rtp_name: in an RTSP server's description. fourccs: what OpenCV calls it in files. sample: a stream of COLOUR."""

    rtp_name: str
    fourccs: tuple[str, ...]
    depayloader: str
    parser: str
    sample: bytes
    decoders: tuple[Decoder, ...]
    is_intra: bool = False  # every picture is complete in itself


# A Jetson's decoder otherwise waits for 6 to 10 pictures, as they may have to be reordered.
NVIDIA = Decoder("nvv4l2decoder enable-max-performance=1", NVIDIA_CONVERT, without_reordering="disable-dpb=true")


def software(element: str) -> Decoder:
    return Decoder(element, is_hardware=False)


CODECS = (
    Codec(
        *("H264", ("h264", "avc1", "H264"), "rtph264depay", "h264parse", H264),
        (
            NVIDIA,
            Decoder("v4l2slh264dec"),
            Decoder("v4l2h264dec"),
            software("avdec_h264"),
            software("openh264dec"),
        ),
    ),
    Codec(
        *("H265", ("hevc", "hvc1", "hev1", "HEVC"), "rtph265depay", "h265parse", H265),
        (
            NVIDIA,
            Decoder("v4l2slh265dec"),
            Decoder("v4l2h265dec"),
            software("avdec_h265"),
            software("libde265dec"),
        ),
    ),
    Codec(
        *("JPEG", ("mjpg", "MJPG", "jpeg"), "rtpjpegdepay", "jpegparse", JPEG),
        (
            Decoder("nvv4l2decoder mjpeg=1", NVIDIA_CONVERT),
            Decoder("v4l2jpegdec"),
            software("avdec_mjpeg"),
            software("jpegdec"),  # halves the colours of 4:4:4
        ),
        is_intra=True,
    ),
)


def codec_of_description(body: str) -> Codec | None:
    """The codec of the first video in an RTSP server's description (SDP); None for one that is not in the table."""
    video = re.search(r"^m=video \d+ \S+ (\d+)", body, re.MULTILINE)
    if video is None:
        return None
    named = re.search(rf"^a=rtpmap:{video[1]} ([\w-]+)/", body, re.MULTILINE)
    name = named[1].upper() if named else {"26": "JPEG"}.get(video[1])  # RFC 3551, table 5
    return next((codec for codec in CODECS if codec.rtp_name == name), None)


def is_baseline(body: str) -> bool:
    """Whether a description announces H.264 of the Baseline profile, which has no pictures to reorder."""
    return re.search(r"profile-level-id=42", body, re.IGNORECASE) is not None


def has_end(body: str) -> bool:
    """Whether a description announces a recording, with a length."""
    return re.search(r"^a=range:npt=[\d.]+-[\d.]", body, re.MULTILINE) is not None


@cache
def choose_decoder(codec: Codec) -> Decoder | None:
    """The first decoder that works here, or None. A hardware decoder counts when it has decoded the sample."""
    for decoder in codec.decoders:
        if has_element(decoder.name) and (not decoder.is_hardware or passes_trial(codec, decoder)):
            return decoder
    return None


def passes_trial(codec: Codec, decoder: Decoder) -> bool:
    """Whether the decoder gives the sample's picture, in the right colour. An element may be there without its hardware.

    In a process of its own, since a driver may hang or end its process.
    """
    with tempfile.NamedTemporaryFile() as file:
        file.write(codec.sample)
        file.flush()
        pipeline = (
            f"filesrc location={quoted(file.name)} ! {codec.parser} ! {decoder.text(is_reordered=False)} ! {EVERY}"
        )
        command = [sys.executable, "-m", f"{__package__}.trial", pipeline]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        try:
            done = subprocess.run(  # noqa: S603 - our own text
                command, capture_output=True, text=True, timeout=TRIAL_S, check=True, env=environment
            )
        except (OSError, subprocess.SubprocessError):
            return False
    found = [float(value) for value in done.stdout.split()]
    return all(abs(value - wanted) <= TOLERANCE for value, wanted in zip(found, COLOUR, strict=True))
