"""Two profiles side by side: ratios, and the differences in their conditions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..results.profile_shape import Amount, Contender, Mode, Profile
from ..results.result_files import read_profile, read_tune
from .about import about_engines, day_of
from .amounts import NOT_MEASURABLE, is_measurable
from .figures import Bar, bars
from .page import write_page
from .parts.trade_off import draw_trade_off
from .text import mode_label
from .tune_page import point_table
from .tune_text import main_point
from .verdict import profile_verdict, tune_verdict

SAME = ("engines", "batch", "images", "scenario", "machine", "backend", "versions", "model")


@dataclass(frozen=True)
class Line:
    """One quantity in both profiles; None where one did not measure it. reason: the text in its place.

    spread: the relative half-width of the ratio, from the rounds of both runs; None where it is unknown.
    """

    name: str
    unit: str
    first: float | None
    second: float | None
    reason: str = "null"
    spread: float | None = None

    @property
    def ratio(self) -> float | None:
        return self.second / self.first if self.first and self.second is not None else None


def differences(first: Profile, second: Profile) -> list[str]:
    """The differences between the two runs, besides their numbers."""
    lines = []
    for name in SAME:
        lines += _differ(name, first.get(name), second.get(name))
    labels = [" and ".join(mode_label(mode) or "none" for mode in one["modes"]) for one in (first, second)]
    lines += _differ("power mode", *labels)
    lines += _differ("power source", *(one["modes"][0]["power"]["source"] for one in (first, second)))
    for letter, one in (("A", first), ("B", second)):
        for mode in one["modes"]:
            lines += [f"{letter} is INVALID: {change['text']}" for change in mode["changes"] if change["invalidates"]]
    return lines


def _differ(name: str, first: object, second: object) -> list[str]:
    if first == second:
        return []
    if isinstance(first, dict) and isinstance(second, dict):
        return [
            line
            for key in dict.fromkeys([*first, *second])
            for line in _differ(f"{name}, {key}", first.get(key), second.get(key))
        ]
    return [f"{name}: {_short(first)} | {_short(second)}"]


def _short(value: object) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 48 else f"{text[:45]}..."


def compare(first: Profile, second: Profile) -> list[tuple[str, list[Line]]]:
    """For each common power mode, the quantities of the common variants.

    Two runs with one threshold each are compared at it, even if it differs, as between INT8 and FP32.
    """
    groups = []
    for one, other in _modes_of_both(first, second):
        lines = [line for name, a, b in _pairs(one, other) for line in _lines(name, a, b)]
        lines += _path_lines(one, other)
        labels = [mode_label(mode) or "" for mode in (one, other)]
        groups.append((labels[0] if labels[0] == labels[1] else " | ".join(labels), lines))
    return groups


def _modes_of_both(first: Profile, second: Profile) -> list[tuple[Mode, Mode]]:
    """Pairs with the same label; without a common label, the only one of each run."""
    others = {mode_label(mode): mode for mode in second["modes"]}
    pairs = [(mode, others[mode_label(mode)]) for mode in first["modes"] if mode_label(mode) in others]
    if not pairs and len(first["modes"]) == len(second["modes"]) == 1:
        return [(first["modes"][0], second["modes"][0])]
    return pairs


def _pairs(one: Mode, other: Mode) -> Iterator[tuple[str, Contender, Contender]]:
    ours, theirs = one["contenders"], other["contenders"]
    chains = [[name for name, value in table.items() if value["threshold"] is not None] for table in (ours, theirs)]
    for name, contender in ours.items():
        if name in theirs:
            yield name, contender, theirs[name]
        elif [name] == chains[0] and len(chains[1]) == 1:
            yield f"{name} | {chains[1][0]}", contender, theirs[chains[1][0]]


def _lines(name: str, a: Contender, b: Contender) -> Iterator[Line]:
    halves = [_relative(one["ms_per_image_plus_minus"], one["ms_per_image"]) for one in (a, b)]
    spread = None if None in halves else sum(half for half in halves if half is not None)
    yield Line(f"{name}: throughput", "images/s", a["throughput"], b["throughput"], spread=spread)
    ours, theirs = a["paths_ms"]["all"], b["paths_ms"]["all"]
    yield Line(f"{name}: median", "ms", ours.get("median_ms"), theirs.get("median_ms"))
    yield Line(f"{name}: mean", "ms", ours.get("mean_ms"), theirs.get("mean_ms"), spread=spread)
    yield Line(f"{name}: p99", "ms", ours.get("p99_ms"), theirs.get("p99_ms"))
    if a["exit_rate"] is not None and a["threshold"] is not None:
        yield Line(f"{name}: exit rate", "", a["exit_rate"], b["exit_rate"])
    tables = [one["energy"]["mj_per_image"] or {} for one in (a, b)]
    for rail in tables[0]:
        if rail in tables[1]:
            first, second = tables[0][rail], tables[1][rail]
            yield _energy(f"{name}: {rail}, gross", first["gross"], second["gross"])
            yield _energy(f"{name}: {rail}, above idle", first["above_idle"], second["above_idle"])


def _path_lines(one: Mode, other: Mode) -> Iterator[Line]:
    tables = [mode["paths_mj"]["mj"] if mode["paths_mj"] else {} for mode in (one, other)]
    for path in tables[0]:
        if path in tables[1]:
            yield _energy(f"one image, {path} path", tables[0][path], tables[1][path])


def _energy(name: str, *amounts: Amount | None) -> Line:
    """None for an amount that is smaller than its error."""
    first, second = (one["value"] if one is not None and is_measurable(one) else None for one in amounts)
    vague = any(one is not None and not is_measurable(one) for one in amounts)
    halves = [_relative(one["plus_minus"], one["value"]) for one in amounts if one is not None]
    spread = None if None in halves or len(halves) < 2 else sum(half for half in halves if half is not None)
    return Line(name, "mJ", first, second, NOT_MEASURABLE if vague else "null", spread)


def _relative(half: float | None, value: float) -> float | None:
    return abs(half / value) if half is not None and value else None


def compare_lines(first: Profile, second: Profile) -> list[str]:
    """The comparison as a table for a terminal."""
    lines = [f"different: {text}" for text in differences(first, second)]
    for label, quantities in compare(first, second):
        head = f"power mode {label}" if label else "quantity"
        lines.append(f"{head:<38}{'A':>15}{'B':>15}{'spread':>17}{'B / A':>9}")
        for line in quantities:
            values = "".join(f"{_number(value, line.reason):>15}" for value in (line.first, line.second))
            lines.append(f"{line.name:<38}{values}{_spread_text(line):>17}{_ratio_text(line):>9}  {line.unit}")
    return lines


def write_comparison(first: Path, second: Path, out: Path) -> None:
    """Writes the page of two profiles: differences in conditions, the ratios as bars, the numbers. Raises SacvitError."""
    one, other = read_profile(first), read_profile(second)
    told = differences(one, other)
    groups = []
    for label, quantities in compare(one, other):
        ratios = [
            Bar(line.name, line.ratio, None, _ratio_text(line))
            for line in quantities
            if line.ratio is not None and line.unit
        ]
        rows = [
            (
                line.name,
                line.unit,
                _number(line.first, line.reason),
                _number(line.second, line.reason),
                _spread_text(line),
                _ratio_text(line),
            )
            for line in quantities
        ]
        caption = "B over A: above 1 B has more (better for images per second, worse for time and energy)"
        groups.append(
            {"label": label, "figure": (caption, bars("B over A", ratios, "B / A", reference=1.0)), "rows": rows}
        )
    content = {
        "title": "Two profiles side by side",
        "about": [(letter, _named(path, result)) for letter, path, result in (("A", first, one), ("B", second, other))],
        "verdicts": [(letter, profile_verdict(result["modes"][0])[1]) for letter, result in (("A", one), ("B", other))],
        "is_fair": not any("INVALID" in text for text in told),
        "summary": "Besides their numbers, these differ:" if told else "Nothing but the numbers differs.",
        "notes": told,
        "groups": groups,
    }
    write_page(out, "comparison", content)


def write_tune_comparison(paths: Sequence[Path], out: Path) -> None:
    """Writes the page of several tune runs, as of one model in several precisions, with their curves in one figure. Raises
    SacvitError."""
    runs = [(str(path), read_tune(path)) for path in paths]
    content = {
        "title": "Accuracy against speed, side by side",
        "about": [
            (name, f"{about_engines(result)[1]}; {day_of(result['date'])}, {result['host']}") for name, result in runs
        ],
        "trade_off": draw_trade_off(runs),
        "runs": [
            {"name": name, "verdict": tune_verdict(result, main_point(result))[1], "points": point_table(result)}
            for name, result in runs
        ],
    }
    write_page(out, "tune_comparison", content)


def _named(path: Path, result: Profile) -> str:
    dates = [date for mode in result["modes"] for date in mode["dates"]]
    host = f", {result['host']}" if result.get("host") else ""
    return f"{path}: {about_engines(result)[1]}{f'; {day_of(dates[-1])}' if dates else ''}{host}"


def _ratio_text(line: Line) -> str:
    return "" if line.ratio is None else f"{line.ratio:.3f}"


def _spread_text(line: Line) -> str:
    """The ratio's half-width by the rounds, and whether the two runs differ by no more than that."""
    if line.ratio is None or line.spread is None:
        return ""
    is_within = abs(line.ratio - 1) <= line.spread
    return f"{'within ' if is_within else ''}± {line.spread:.1%}"


def _number(value: float | None, reason: str) -> str:
    """With four digits, or with all digits of the whole number."""
    if value is None:
        return reason
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:#.4g}".rstrip(".")
