"""Joins a log of tegrastats, taken beside a run, with the frames of the run.

The two have only the wall clock in common: frames have UTC, tegrastats prints local time in whole seconds without its zone.
"""

from __future__ import annotations

import itertools
import re
import statistics
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from ...bundle.errors import UsageError
from ...runtime.moments import utc_text
from ..power.energy import SAMPLES
from ..power.sampler import Sampler
from ..power.source import Reading
from ..power.tegrastats_lines import Sample
from ..reports.tegrastats_log import UNPOWERED_C, read_log
from .recorded import JUMP_S, Recorded, extend, with_total
from .stored_source import MOST_MISSED, source_of_log
from .windows import Windows

ZONES_S = range(-12 * 3600, 14 * 3600 + 1, 900)  # offsets of all zones


def parse_utc_offset(text: str) -> int:
    """Seconds for +02:00, -05:30, +2 or Z. Raises UsageError."""
    found = re.fullmatch(r"([+-]?)(\d{1,2})(?::?([0-5]\d))?", "+0" if text in ("Z", "z") else text)
    if found is None or int(found[2]) > 14:
        raise UsageError(f"--utc-offset {text}: give local time minus UTC as +HH:MM, for example --utc-offset=-05:00")
    seconds = 3600 * int(found[2]) + 60 * int(found[3] or 0)
    return -seconds if found[1] == "-" else seconds


def join_log(run: Recorded, path: Path, utc_offset_s: int | None) -> None:
    """Puts the power and temperatures of a log in the place of the run's own.

    utc_offset_s: local time minus UTC where tegrastats ran; without it, that of the run's log, else this computer's zone at
    that time. Raises UsageError where the two do not overlap, or the clock of the run jumped.
    """
    if run.frames.jump_s > JUMP_S:
        raise UsageError(
            f"{run.path}: the system's clock jumped by {run.frames.jump_s:.1f} s during the run, so {path} cannot be joined"
            " with it. Give the run alone, or cut it at the jump"
        )
    samples = [sample for _, sample in read_log(path)]
    stamped, interval_s = _local_times(path, samples)
    if utc_offset_s is None:
        utc_offset_s = run.utc_offset_s
    shift_s, zone = _shift_of(stamped[0], utc_offset_s)
    unix = [time - shift_s for time in stamped]
    offset = statistics.median(run.frames.offset_s)
    begin, end = (run.frames.answered_s[place] + offset for place in (0, -1))
    share = _covered(unix, interval_s, begin, end)
    if not share:
        raise UsageError(_no_overlap(run.path, path, (begin, end), stamped, shift_s, zone))
    run.notes.append(
        f"{path.name} covers {share:.0%} of the run; its times are {zone}, and are exact to half a second."
    )
    rails = list(dict.fromkeys(str(name) for one in samples for name, *_ in one.rails_mw if name != "NC"))
    source = source_of_log(f"tegrastats, {path.name}", rails, interval_s)
    sampler = Sampler(source)
    windows = Windows(sampler, run.most_cut, SAMPLES * interval_s)
    windows.survivors_share = run.survivors_share
    run.power_w, run.zones_c, run.windows = {}, {}, windows
    readings = _take_samples(run, samples, [time - offset for time in unix], source.total_rails)
    _replay(windows, readings, run)


def _replay(windows: Windows, readings: Sequence[Reading], run: Recorded) -> None:
    """Readings and frames in the order of time, as they came."""
    at = iter(readings)
    waiting = next(at, None)
    ahead_s = 2 * windows.sampler.source.longest_gap_s
    for answered_s, is_full in zip(run.frames.answered_s, run.frames.is_full, strict=True):
        while waiting is not None and waiting.time_s <= answered_s + ahead_s:
            windows.sampler.add(waiting)
            waiting = next(at, None)
        windows.add(answered_s, "full" if is_full else "exit")
    windows.close()


def _take_samples(
    run: Recorded, samples: Sequence[Sample], times: Sequence[float], total_rails: Sequence[str]
) -> list[Reading]:
    """The samples as readings; their power and temperatures as the lines of the run."""
    readings = []
    for time_s, sample in zip(times, samples, strict=True):
        rails = {str(name): float(instant) for name, instant, *_ in sample.rails_mw if name != "NC"}
        if rails:
            readings.append(Reading(time_s, rails))
        extend(run.power_w, time_s, {rail: value / 1e3 for rail, value in with_total(rails, total_rails).items()})
        zones = {zone: float(c) for zone, c in sample.temps_c.items() if c > UNPOWERED_C and zone != "PMIC"}
        extend(run.zones_c, time_s, zones)
    return readings


def _local_times(path: Path, samples: Sequence[Sample]) -> tuple[list[float], float]:
    """Local time of each sample in seconds, spread evenly over the lines of one second, and the median between two.

    Raises UsageError for a log without times, or whose times go backwards.
    """
    stamps = [sample.timestamp for sample in samples]
    if None in stamps:
        raise UsageError(
            f"{path} has lines without a time, as JetPack 3 and 4 print them: it cannot be joined with a run."
            " sacvit-run --power tegrastats reads tegrastats itself"
        )
    moments = [datetime.fromisoformat(str(stamp)).replace(tzinfo=timezone.utc).timestamp() for stamp in stamps]
    if any(after < before for before, after in itertools.pairwise(moments)):
        raise UsageError(f"{path}: its times go backwards. Cut out the part that was taken beside the run")
    times: list[float] = []
    for moment, group in itertools.groupby(moments):
        count = len(list(group))
        times += [moment + (place + 0.5) / count for place in range(count)]
    steps = [after - before for before, after in itertools.pairwise(times)]
    return times, statistics.median(steps) if steps else 1.0


def _shift_of(first: float, utc_offset_s: int | None) -> tuple[float, str]:
    """What is subtracted from local time for UTC, and the zone in words. Of this computer's zone, at the date of the log."""
    if utc_offset_s is None:
        local = datetime.fromtimestamp(first, timezone.utc).replace(tzinfo=None).astimezone()
        offset = local.utcoffset()
        assert offset is not None
        return offset.total_seconds(), f"taken as UTC{_signed(offset.total_seconds())}, the zone of this computer"
    return float(utc_offset_s), f"taken as UTC{_signed(utc_offset_s)}"


def _signed(seconds: float) -> str:
    minutes = round(abs(seconds) / 60)
    return f"{'-' if seconds < 0 else '+'}{minutes // 60:02}:{minutes % 60:02}"


def _covered(unix: Sequence[float], interval_s: float, begin: float, end: float) -> float:
    """The share of the run's time for which the log has lines. A log may hold several recordings."""
    reach_s = MOST_MISSED * interval_s / 2
    spans = [(max(time - reach_s, begin), min(time + reach_s, end)) for time in unix]
    covered, until = 0.0, begin
    for first, last in spans:
        if last > max(first, until):
            covered += last - max(first, until)
            until = last
    return covered / max(end - begin, 1e-9)


def _no_overlap(
    run: Path, log: Path, frames: tuple[float, float], stamped: Sequence[float], shift_s: float, zone: str
) -> str:
    frames_text, log_text = (
        " to ".join(map(utc_text, span)) for span in (frames, (stamped[0] - shift_s, stamped[-1] - shift_s))
    )
    text = (
        f"{run} and {log} do not overlap: the frames are of {frames_text}, the log is of {log_text}, its times {zone}"
    )
    local = np.array(stamped)
    hits = {other: int(((local - other >= frames[0]) & (local - other <= frames[1])).sum()) for other in ZONES_S}
    best = max(hits, key=lambda other: hits[other])
    if hits[best]:
        return f"{text}. They would with --utc-offset={_signed(best)}, if that is the zone where tegrastats ran"
    return f"{text}. Give the log of this run"
