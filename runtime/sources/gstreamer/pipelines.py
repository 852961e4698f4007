"""The pipelines of RTSP streams and video files."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from ..address import Address
from .decoders import Codec, Decoder
from .ends import EVERY, NEWEST, quoted

ONE_LEAKY = "queue leaky=downstream max-size-bytes=0 max-size-time=0 max-size-buffers=1"


def rtsp_pipeline(address: Address, codec: Codec | None, decoder: Decoder | None, is_reordered: bool = True) -> str:
    """For an RTSP stream: BGR, newest frame only. The address cannot leave its quotes. Without a decoder GStreamer chooses."""
    location = quote(address.url, safe="/:@%?&=+,;.~-_[]")
    source = f'rtspsrc location="{location}" latency=0 protocols=tcp tls-validation-flags=0'
    if codec is None or decoder is None:
        return f"{source} ! decodebin ! {NEWEST}"
    # Pictures that depend on earlier ones are not dropped before they are decoded: the next ones would be damaged.
    waiting = f"{ONE_LEAKY} ! " if codec.is_intra else ""
    return f"{source} ! {codec.depayloader} ! {codec.parser} ! {waiting}{decoder.text(is_reordered)} ! {ONE_LEAKY} ! {NEWEST}"


def file_pipeline(path: Path, decoder: Decoder) -> str:
    """For a video: every frame. Sound is not decoded."""
    return f"filesrc location={quoted(str(path))} ! parsebin ! {decoder.text()} ! {EVERY}"
