"""Reads what a run has left: --power-log, or the lines of --json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import msgspec
from msgspec import Meta

from ...bundle.errors import SacvitError
from ..power.energy import TOTAL
from ..power.sampler import Sampler
from ..power.source import NoPower, Reading
from ..results.quantities import LARGEST, Number
from .log_lines import FULL, MAX_BYTES, read_log_line
from .recorded import Frames, Recorded, extend, with_total
from .stored_source import source_of_description
from .windows import Windows

MAX_LINES_BYTES = 2 << 30  # of --json: a day at 30 frames per second has 1.5 GB
MAX_LINE_BYTES = 64 << 20


def read_recorded(path: Path) -> Recorded:
    """The run in a file. Raises SacvitError for a file that is damaged, too large, or without a frame."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            is_log = file.read(16).startswith(b'{"kind":')
            file.seek(0)
            limit = MAX_BYTES if is_log else MAX_LINES_BYTES
            if size > limit:
                raise SacvitError(
                    f"{path} has {size} bytes; the limit is {limit}. Give a part of it, cut between lines"
                )
            found = _read_log(path, file) if is_log else _read_json(path, file)
    except OSError as reason:
        raise SacvitError(f"{path} cannot be read: {reason.strerror or reason}") from None
    if not len(found.frames.ms):
        raise SacvitError(f"{path} holds no frame: the run ended before its first answer")
    return found


def _whole_lines(path: Path, file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers; what a kill cut short at the end is left out."""
    for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES), b""), 1):
        if line.endswith(b"\n"):
            yield number, line
        elif len(line) == MAX_LINE_BYTES:
            raise SacvitError(f"{path}, line {number} has more than {MAX_LINE_BYTES} bytes: it is no line of a run")


# --power-log


def _read_log(path: Path, file: BinaryIO) -> Recorded:
    found, sampler, header = Recorded(path, Frames(), is_ended=False), Sampler(NoPower("")), None
    for number, text in _whole_lines(path, file):
        try:
            line = read_log_line(text, None if header is None else len(header["source"].get("sensors", ())))
        except (ValueError, RecursionError) as reason:
            raise SacvitError(f"{path}, line {number} is damaged: {reason}. Remove the line to read the rest") from None
        if header is None:
            header = line
            sampler = _begin(found, header)
        elif line["kind"] == "second":
            _take_second(found, sampler, line)
        elif line["kind"] == "heat":
            extend(found.zones_c, line["monotonic_s"], line["temperatures_c"])
            throttling = [f"throttled because of heat: {name}" for name, step in line["cooling"].items() if step > 0]
            found.notes += [note for note in throttling if note not in found.notes]
        elif line["kind"] == "fault":
            found.notes.append(f"power source: after {line['text']}")
        else:
            found.is_ended = True
            found.notes += [change["text"] for change in line["changes"]]
    if header is None:
        raise SacvitError(f"{path} is empty: the run ended before its first line")
    if not found.is_ended:
        found.notes.append("The run was killed: the state of the machine at its end is not known.")
    if found.windows is not None:
        found.windows.close()
    return found


def _begin(found: Recorded, header: Mapping[str, Any]) -> Sampler:
    described = header["source"]
    source = NoPower(described["reason"] or "") if described["source"] is None else source_of_description(described)
    sampler = Sampler(source)
    found.most_cut, found.utc_offset_s = header["most_cut"], header["utc_offset_s"]
    found.survivors_share = header["survivors_share"]
    found.windows = Windows(sampler, found.most_cut)
    found.windows.survivors_share = found.survivors_share
    found.about = [
        ("Date", header["date"][:16].replace("T", " ") + " UTC"),
        ("Host", header["host"]),
        (
            "Engines",
            ", ".join(header["engines"].values()) + f"; {header['backend']}, threshold {header['threshold']:g}",
        ),
        *((name, text) for name, text in header["machine"] if name in ("Board", "Power mode")),
    ]
    found.about = [(name, text.lstrip("; ")) for name, text in found.about]
    return sampler


def _take_second(found: Recorded, sampler: Sampler, line: Mapping[str, Any]) -> None:
    """Readings before frames: a window is measured when there is a reading after its end."""
    assert found.windows is not None
    rails = list(sampler.source.sensors)
    for place, time_s in enumerate(line["readings"]["s"]):
        values = {
            rail: column[place]
            for rail, column in zip(rails, line["readings"]["rails"], strict=True)
            if column[place] is not None
        }
        before = sampler.readings[-1] if sampler.readings else None
        sampler.add(Reading(time_s, values))
        extend(found.power_w, *_as_power(sampler, before, time_s, values))
    offset_s = _unix_of(line["time"]) - line["monotonic_s"]
    frames = line["frames"]
    columns = (frames["taken_s"], frames["age_ms"], frames["ms"], frames["path"])
    for taken_s, age_ms, ms, path in zip(*columns, strict=True):
        answered_s, is_full = taken_s + age_ms / 1e3, path == FULL
        found.frames.add(answered_s, offset_s, ms, is_full)
        found.windows.add(answered_s, "full" if is_full else "exit")


def _as_power(
    sampler: Sampler, before: Reading | None, time_s: float, rails: Mapping[str, float]
) -> tuple[float, dict[str, float]]:
    """W by rail, and the total; of a counter the slope since the reading before."""
    source = sampler.source
    if source.kind == "power":
        return time_s, {rail: value / 1e3 for rail, value in with_total(rails, source.total_rails).items()}
    if before is None or time_s <= before.time_s:
        return time_s, {}
    span_s = time_s - before.time_s
    slopes = {
        rail: (value - before.rails[rail]) / span_s / 1e3 for rail, value in rails.items() if rail in before.rails
    }
    return (time_s + before.time_s) / 2, slopes


def _unix_of(text: str) -> float:
    """Unix time of 2026-11-26T14:28:45.702Z. Raises ValueError."""
    if not text.endswith("Z"):
        raise ValueError("expected a time in UTC that ends in Z - at `$.time`")
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


# The lines of --json

Small = Annotated[float, Meta(ge=0, le=1e9)]


class _Power(msgspec.Struct):
    ended_s: Annotated[float, Meta(ge=0, le=LARGEST)]
    window_s: Annotated[float, Meta(gt=0, le=1e9)]
    w: Annotated[dict[str, Number], Meta(max_length=32)]


class _Line(msgspec.Struct):
    """The entries of a line that are used; the line of an event has `event`."""

    frame: int | None = None
    event: Any = None
    prepare_ms: Small = 0.0
    ee_ms: Small = 0.0
    sac_ms: Small | None = None
    age_ms: Small = 0.0
    monotonic_s: Annotated[float, Meta(ge=0, le=LARGEST)] | None = None
    time: Annotated[str, Meta(max_length=40)] | None = None
    power: _Power | None = None


def _read_json(path: Path, file: BinaryIO) -> Recorded:
    found, decoder, ended_s = Recorded(path, Frames()), msgspec.json.Decoder(_Line), -1.0
    for number, text in _whole_lines(path, file):
        try:
            line = decoder.decode(text)
            if line.event is not None:
                continue
            if line.frame is None:
                raise ValueError("expected the entry frame of sacvit-run --json")
            if line.monotonic_s is None or line.time is None:
                raise ValueError("it has no monotonic_s and time: an older sacvit wrote it, run again")
            offset_s = _unix_of(line.time) - line.monotonic_s
        except (ValueError, RecursionError) as reason:
            raise SacvitError(f"{path}, line {number} is no line of sacvit-run --json: {reason}") from None
        ms = line.prepare_ms + line.ee_ms + (line.sac_ms or 0.0)
        found.frames.add(line.monotonic_s + line.age_ms / 1e3, offset_s, ms, line.sac_ms is not None)
        if line.power is not None and line.power.ended_s != ended_s:
            ended_s = line.power.ended_s
            watts = dict(line.power.w)
            if any(rail != TOTAL and value == watts.get(TOTAL) for rail, value in watts.items()):
                del watts[TOTAL]  # one rail alone is the total
            for at_s in (ended_s - line.power.window_s, ended_s):  # the mean of a window is a step
                extend(found.power_w, at_s, watts)
    return found
