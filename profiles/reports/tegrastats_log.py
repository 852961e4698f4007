"""A user's tegrastats log: as JSON lines, or as a summary."""

from __future__ import annotations

import datetime
import itertools
import json
import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...bundle.errors import SacvitError
from ..power.rails import Total, total_of
from ..power.tegrastats_lines import Sample, read_lines
from ..power.tegrastats_text import log_lines
from .drawable import Line
from .figures import lines
from .page import write_page

GIVE = "Give a folder that sacvit-profile --out or sacvit-tune --out wrote, or a log: tegrastats --logfile FILE"
BLOCKS = "▁▂▃▄▅▆▇█"
UNPOWERED_C = -256  # printed by an unpowered sensor
MOST_LINES, MOST_GROUPS = 6, 4  # lines of a figure, and figures of a kind
LONGEST_GAP_S = 3600.0  # between samples of one recording


def read_log(path: Path) -> list[tuple[int, Sample]]:
    """The samples of a log with their line numbers. Raises SacvitError for a file that holds none."""
    try:
        samples = list(read_lines(log_lines(path)))
    except OSError as reason:
        raise SacvitError(f"{path} cannot be read: {reason.strerror}. {GIVE}") from None
    if not samples:
        raise SacvitError(
            f"{path} holds no line of tegrastats: such a line begins with RAM, or with a date and RAM. {GIVE}"
        )
    return samples


def json_lines(path: Path, samples: Sequence[tuple[int, Sample]]) -> Iterator[str]:
    for line, sample in samples:
        yield json.dumps({"file": path.name, "line": line, **sample.to_json()})


def summary_lines(samples: Sequence[tuple[int, Sample]]) -> list[str]:
    """Power by rail, the module's total where its rails are known, load and temperature, over the whole log.

    Means are over samples of the instantaneous column, since the printed average covers all time since tegrastats started.
    """
    all_samples = [sample for _, sample in samples]
    lines = [f"{len(all_samples)} samples{_span(all_samples)}"]
    rows, totals = _powers(all_samples)
    if not rows:
        lines.append(
            "no power: this tegrastats printed no rails (JetPack 5 prints none to an unprivileged user on Orin)"
        )
    for name, values in rows.items():
        lines.append(_row(name, values, "mW"))
    if totals:
        lines.append(_row("module", [power for power, _ in totals], "mW") + f"   = {' + '.join(totals[-1][1].rails)}")
    elif rows:
        lines.append("module: no total: it is not known for this board which of these rails include others")
    loads = _loads(all_samples)
    if loads:
        lines.append(_row("GPU load", loads, "%"))
    live = {zone: max(s.temps_c[zone] for s in all_samples if zone in s.temps_c) for zone in _zones(all_samples)}
    if live:
        zone = max(live, key=lambda name: live[name])
        lines.append(f"hottest: {zone} {live[zone]:.3g} °C")
    return lines


def _powers(samples: Sequence[Sample]) -> tuple[dict[str, list[float]], list[tuple[float, Total]]]:
    """mW by rail, and the module's total of every sample that has its rails."""
    rows: dict[str, list[float]] = {}
    totals = []
    for sample in samples:
        powers = {name: float(values[0]) for name, *values in sample.rails_mw}
        for name, power in powers.items():
            rows.setdefault(name, []).append(power)
        if (found := total_of(powers)) is not None:
            totals.append(found)
    return rows, totals


def _loads(samples: Sequence[Sample]) -> list[float]:
    return [float(one.gr3d["load_pct"]) for one in samples if one.gr3d and one.gr3d["load_pct"] is not None]


def _zones(samples: Sequence[Sample]) -> list[str]:
    """Zones with a real temperature: they are powered in some part of the log, and not constant by design."""
    seen = dict.fromkeys(
        zone for sample in samples for zone, value in sample.temps_c.items() if value > UNPOWERED_C and zone != "PMIC"
    )
    return list(seen)


def write_log_page(path: Path, out: Path) -> None:
    """Writes a page: the summary, and power, load, temperature and memory over time, or over samples in logs without times."""
    numbered = read_log(path)
    samples = [sample for _, sample in numbered]
    times, unit = _times(samples)
    rails = {name: [_instant_w(one, name) for one in samples] for name in _powers(samples)[0]}
    totals = [total_of({name: float(row[0]) for name, *row in one.rails_mw}) for one in samples]
    if any(totals):
        rails["module"] = [None if total is None else total[0] / 1e3 for total in totals]
    load = [None if one.gr3d is None else one.gr3d["load_pct"] for one in samples]
    zones = {
        zone: [
            value if (value := one.temps_c.get(zone)) is not None and value > UNPOWERED_C else None for one in samples
        ]
        for zone in _zones(samples)
    }
    figures: list[tuple[str, str]] = []
    for caption, unit_y, values in (
        ("Power", "W", rails),
        ("GPU load", "%", {"GR3D": load}),
        ("Temperature", "°C", zones),
        ("Memory", "MB", {"RAM used": [None if one.ram is None else one.ram["used_mb"] for one in samples]}),
    ):
        drawn = [_line(name, times, row) for name, row in list(values.items())[: MOST_LINES * MOST_GROUPS]]
        groups = [drawn[start : start + MOST_LINES] for start in range(0, len(drawn), MOST_LINES)]
        figures += [(caption, lines(caption, group, unit, unit_y)) for group in groups]
    content = {"title": f"tegrastats: {path.name}", "about": [], "summary": summary_lines(numbered), "figures": figures}
    write_page(out, "tegrastats", content)


def _line(name: str, times: Sequence[float], values: Sequence[float | None]) -> Line:
    """A line that is interrupted where samples are missing: at a gap of more than five median intervals."""
    steps = [after - before for before, after in itertools.pairwise(times)]
    longest = 5 * statistics.median(steps) if steps else 0.0
    x, y = [times[0]], [values[0]]
    for step, time, value in zip(steps, times[1:], values[1:], strict=True):
        if step > longest:
            x.append(time)
            y.append(None)
        x.append(time)
        y.append(value)
    return Line(name, x, [math.nan if value is None else float(value) for value in y])


def _times(samples: Sequence[Sample]) -> tuple[list[float], str]:
    """Seconds from the first sample, spread evenly over lines of one second.

    Sample numbers where there are no times, or times of several recordings: they go backwards or are LONGEST_GAP_S apart.
    """
    stamps = [sample.timestamp for sample in samples]
    numbers = [float(number) for number in range(len(samples))]
    if None in stamps or len(set(stamps)) < 2:
        return numbers, "sample"
    moments = [datetime.datetime.fromisoformat(str(stamp)).timestamp() for stamp in stamps]
    if any(not 0 <= after - before <= LONGEST_GAP_S for before, after in itertools.pairwise(moments)):
        return numbers, "sample"
    seconds = []
    for moment, group in itertools.groupby(moments):
        count = len(list(group))
        seconds += [moment - moments[0] + place / count for place in range(count)]
    return seconds, "time (s)"


def _instant_w(sample: Sample, rail: str) -> float | None:
    found = [row[1] for row in sample.rails_mw if row[0] == rail]
    return found[-1] / 1e3 if found else None


def _span(samples: Sequence[Sample]) -> str:
    stamps = [sample.timestamp for sample in samples if sample.timestamp is not None]
    if len(stamps) < 2:
        return ", without times" if not stamps else f" at {stamps[0]}"
    first, last = (datetime.datetime.fromisoformat(stamp) for stamp in (stamps[0], stamps[-1]))
    return f" from {first} to {last} ({last - first})"


def sparkline(values: Sequence[float], width: int = 20) -> str:
    """Block letters from the lowest to the highest value, each the mean of its part; at most `width`."""
    count = min(width, len(values))
    cuts = [len(values) * place // count for place in range(count + 1)] if count else [0]
    means = [statistics.fmean(values[start:end]) for start, end in itertools.pairwise(cuts)]
    low, span = min(means, default=0.0), max(means, default=0.0) - min(means, default=0.0)
    return "".join(BLOCKS[round(7 * (mean - low) / span) if span > 0 else 3] for mean in means)


def _row(name: str, values: Sequence[float], unit: str) -> str:
    drawn = f"  {sparkline(values)}" if len(values) > 1 else ""
    span = f"{min(values):g} to {max(values):g}"
    return f"{name:<18} mean {statistics.mean(values):8.1f} {unit}, {span:<16}{drawn}".rstrip()
