"""How every pipeline ends, so that pictures can be taken from it."""

from __future__ import annotations

SINK = "sacvit-pictures"  # the name of the appsink that pictures are taken from
BGR = "videoconvert ! video/x-raw,format=BGR"
NEWEST = f"{BGR} ! appsink name={SINK} drop=true max-buffers=1 sync=false"  # what is not fetched in time is dropped
EVERY = f"{BGR} ! appsink name={SINK} max-buffers=4 sync=false"  # for files: the decoder waits


def quoted(text: str) -> str:
    """A text as one value of GStreamer's pipeline language."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
