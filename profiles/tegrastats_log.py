"""A user's tegrastats log: as JSON lines, or as a summary."""

from __future__ import annotations

import datetime
import json
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..bundle.errors import SacvitError
from .rails import total_of
from .tegrastats import Sample, read_lines


def read_log(path: Path) -> list[tuple[int, Sample]]:
    """The samples of a log with their line numbers. Raises SacvitError for a file that holds none."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            samples = list(read_lines(file))
    except OSError as reason:
        raise SacvitError(f"--tegrastats-log {path} cannot be read: {reason.strerror}") from None
    if not samples:
        raise SacvitError(
            f"--tegrastats-log {path} holds no line of tegrastats: one begins with RAM, or a date and RAM"
        )
    return samples


def json_lines(path: Path, samples: Sequence[tuple[int, Sample]]) -> Iterator[str]:
    for line, sample in samples:
        yield json.dumps({"file": path.name, "line": line, **sample.to_json()})


def summary_lines(samples: Sequence[tuple[int, Sample]]) -> list[str]:
    """Power by rail, the module's total where its rails are known, load and temperature, over the whole log.

    Means are over samples, of the instantaneous column: the printed average runs since tegrastats started.
    """
    all_samples = [sample for _, sample in samples]
    lines = [f"{len(all_samples)} samples{_span(all_samples)}"]
    rows: dict[str, list[float]] = {}
    totals = []
    for sample in all_samples:
        powers = {name: float(values[0]) for name, *values in sample.rails_mw}
        for name, power in powers.items():
            rows.setdefault(name, []).append(power)
        if (found := total_of(powers)) is not None:
            totals.append(found)
    if not rows:
        lines.append(
            "no power: this tegrastats printed no rails (JetPack 5 prints none to an unprivileged user on Orin)"
        )
    for name, values in rows.items():
        lines.append(_row(name, values, "mW"))
    if totals:
        lines.append(_row("module", [power for power, _ in totals], "mW") + f"   = {' + '.join(totals[-1][1].rails)}")
    elif rows:
        lines.append("module: no total: which of these rails hold the others is not known for this board")
    loads = [
        float(sample.gr3d["load_pct"]) for sample in all_samples if sample.gr3d and sample.gr3d["load_pct"] is not None
    ]
    if loads:
        lines.append(_row("GPU load", loads, "%"))
    hottest = {zone: max(s.temps_c[zone] for s in all_samples if zone in s.temps_c) for zone in _zones(all_samples)}
    live = {zone: value for zone, value in hottest.items() if value > UNPOWERED_C and zone != "PMIC"}
    if live:
        zone = max(live, key=lambda name: live[name])
        lines.append(f"hottest: {zone} {live[zone]:g} C")
    return lines


UNPOWERED_C = -256  # what an unpowered sensor prints; PMIC prints a constant


def _zones(samples: Sequence[Sample]) -> list[str]:
    return list(dict.fromkeys(zone for sample in samples for zone in sample.temps_c))


def _span(samples: Sequence[Sample]) -> str:
    stamps = [sample.timestamp for sample in samples if sample.timestamp is not None]
    if len(stamps) < 2:
        return ", without times" if not stamps else f" at {stamps[0]}"
    first, last = (datetime.datetime.fromisoformat(stamp) for stamp in (stamps[0], stamps[-1]))
    return f" from {first} to {last} ({(last - first).total_seconds():.0f} s)"


def _row(name: str, values: Sequence[float], unit: str) -> str:
    return f"{name:<18} mean {statistics.mean(values):8.1f} {unit}, {min(values):g} to {max(values):g}"
