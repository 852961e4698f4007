"""The lines of --power-log: one JSON object each, with a checksum, as in the run.jsonl of sacvit-profile."""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

import msgspec
from msgspec import Meta

from ...bundle.records import decode_line
from ..results.quantities import LARGEST, Number
from ..timing.run_lines import Change, Source

FORMAT = 1
COMMAND = "sacvit-run --power-log"
MAX_BYTES = 128 << 20  # of a log, which then gives its name to the next one; a day at 30 frames per second has 100 MB
MOST_RAILS, MOST_ROWS, MOST_ZONES, MOST_TEXT = 32, 1_000_000, 256, 4096

Text = Annotated[str, Meta(max_length=MOST_TEXT)]
Second = Annotated[float, Meta(ge=0, le=LARGEST)]  # of time.monotonic() of the machine that ran
Column = Annotated[list[Number], Meta(max_length=MOST_ROWS)]
EXIT, FULL = "e", "f"  # a letter per frame
PATHS = {"exit": EXIT, "full": FULL}


class Header(TypedDict):
    """The first line. source: the power source, with its sensors. most_cut, survivors_share: see `Windows`."""

    format: int
    written_by: str
    date: Text
    utc_offset_s: Annotated[int, Meta(ge=-86400, le=86400)]
    host: Text
    engines: Annotated[dict[str, Text], Meta(max_length=8)]
    backend: Text
    threshold: Number
    source: Source
    most_cut: Annotated[int, Meta(ge=0, le=1_000_000)]
    survivors_share: bool
    machine: Annotated[list[tuple[Text, Text]], Meta(max_length=MOST_ZONES)]


class Readings(TypedDict):
    """s: times; rails: a column for each rail of the header's sensors, in their order; null where a rail was gone."""

    s: Column
    rails: Annotated[list[list[Number | None]], Meta(max_length=MOST_RAILS)]


class Frames(TypedDict):
    """One place per frame. path: a letter each."""

    taken_s: Column
    age_ms: Column
    ms: Column
    path: Annotated[str, Meta(max_length=MOST_ROWS, pattern=f"^[{EXIT}{FULL}]*$")]
    camera: Annotated[list[Annotated[int, Meta(ge=0, le=1000)]], Meta(max_length=MOST_ROWS)]


class SecondLine(TypedDict):
    """What came since the line before. monotonic_s and time: when the line was written, on both clocks."""

    monotonic_s: Second
    time: Text
    readings: Readings
    frames: Frames


class Heat(TypedDict):
    monotonic_s: Second
    temperatures_c: Annotated[dict[Text, Number], Meta(max_length=MOST_ZONES)]
    cooling: Annotated[dict[Text, int], Meta(max_length=MOST_ZONES)]


class Fault(TypedDict):
    monotonic_s: Second
    text: Text


class End(TypedDict):
    """Written when the run ends by itself or by Ctrl-C; a run that was killed has none."""

    monotonic_s: Second
    changes: Annotated[list[Change], Meta(max_length=MOST_ZONES)]
    summary: dict[str, Any]


SHAPES: dict[str, Any] = {"header": Header, "second": SecondLine, "heat": Heat, "fault": Fault, "end": End}


class _Kind(msgspec.Struct):
    kind: str


def read_log_line(text: bytes, rails: int | None) -> dict[str, Any]:
    """Checks a line. rails: the number of rails in the header; None for the first line. Raises ValueError with the place."""
    line = decode_line(text)
    kind = msgspec.convert(line, _Kind).kind
    if kind not in SHAPES or (kind == "header") != (rails is None):
        raise ValueError(
            f"expected {'header' if rails is None else 'a line behind the header'}, found {kind!r} - at `$.kind`"
        )
    msgspec.convert(line, SHAPES[kind])  # only as a check: entries of newer releases are kept
    if kind == "header":
        if line["format"] != FORMAT or line["written_by"] != COMMAND:
            raise ValueError(f"expected format {FORMAT} of {COMMAND} - at `$.format`")
        source = line["source"]
        if source["source"] is not None and not {"kind", "scope", "total_rails", "sensors"} <= source.keys():
            raise ValueError("expected kind, scope, total_rails and sensors beside a source - at `$.source`")
        if not set(source.get("total_rails", ())) <= set(source.get("sensors", ())):
            raise ValueError("expected rails that have a sensor - at `$.source.total_rails`")
    if kind == "second":
        readings, frames = line["readings"], line["frames"]
        if len(readings["rails"]) != rails or any(len(one) != len(readings["s"]) for one in readings["rails"]):
            raise ValueError("expected a column of the same length for each rail - at `$.readings`")
        if len({len(column) for column in frames.values()}) != 1:
            raise ValueError("expected columns of the same length - at `$.frames`")
    return line
