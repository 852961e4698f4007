"""Two profiles side by side, with ratios, and what makes them two different things."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...bundle.errors import SacvitError
from .text import mode_label

MAX_BYTES = 64 << 20
RESULT_NAME = "profile.json"
SAME = ("engines", "batch", "images", "scenario", "machine", "backend", "versions", "model")


@dataclass(frozen=True)
class Line:
    """One quantity in both; None where one did not measure it."""

    name: str
    unit: str
    first: float | None
    second: float | None

    @property
    def ratio(self) -> float | None:
        return self.second / self.first if self.first and self.second is not None else None


def read_result(path: Path) -> dict[str, Any]:
    """A profile.json, or the folder that holds it. Raises SacvitError for anything else."""
    file = path / RESULT_NAME if path.is_dir() else path
    try:
        if file.stat().st_size > MAX_BYTES:
            raise SacvitError(f"{file} has {file.stat().st_size} bytes; the limit is {MAX_BYTES}")
        content = json.loads(file.read_text("utf-8"))
    except OSError as reason:
        raise SacvitError(f"{file} cannot be read: {reason.strerror}") from None
    except (ValueError, RecursionError) as reason:
        raise SacvitError(f"{file} is no JSON: {reason}") from None
    if not isinstance(content, dict) or content.get("format") != 1 or not content.get("modes"):
        raise SacvitError(f"{file} is no profile.json: sacvit-profile --engine ... --out DIR writes one")
    try:
        compare_lines(content, content)  # reads all that a comparison reads
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as reason:
        raise SacvitError(f"{file} is a damaged profile.json: {reason!r}. Write it again: sacvit-profile") from None
    return content


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """What was not the same in the two runs, besides their numbers."""
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


def compare(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[tuple[str, list[Line]]]:
    """By power mode that both have: the quantities of every contender that both have.

    Two runs with one threshold each are compared by it, whatever it is: INT8's is another than FP32's.
    """
    groups = []
    for one, other in _modes_of_both(first, second):
        lines = [line for name, a, b in _pairs(one, other) for line in _lines(name, a, b)]
        lines += _path_lines(one, other)
        labels = [mode_label(mode) or "" for mode in (one, other)]
        groups.append((labels[0] if labels[0] == labels[1] else " | ".join(labels), lines))
    return groups


def _modes_of_both(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    """By label; where no label is in both, one against the other if each has only one."""
    others = {mode_label(mode): mode for mode in second["modes"]}
    pairs = [(mode, others[mode_label(mode)]) for mode in first["modes"] if mode_label(mode) in others]
    if not pairs and len(first["modes"]) == len(second["modes"]) == 1:
        return [(first["modes"][0], second["modes"][0])]
    return pairs


def _pairs(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    ours, theirs = one["contenders"], other["contenders"]
    chains = [[name for name, value in table.items() if value["threshold"] is not None] for table in (ours, theirs)]
    for name, contender in ours.items():
        if name in theirs:
            yield name, contender, theirs[name]
        elif [name] == chains[0] and len(chains[1]) == 1:
            yield f"{name} | {chains[1][0]}", contender, theirs[chains[1][0]]


def _lines(name: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Line]:
    yield Line(f"{name}: throughput", "images/s", a["throughput"], b["throughput"])
    for key in ("median_ms", "mean_ms", "p99_ms"):
        words = key.removesuffix("_ms")
        yield Line(f"{name}: {words}", "ms", a["paths_ms"]["all"].get(key), b["paths_ms"]["all"].get(key))
    if a["exit_rate"] is not None and a["threshold"] is not None:
        yield Line(f"{name}: exit rate", "", a["exit_rate"], b["exit_rate"])
    tables = [one["energy"]["mj_per_image"] or {} for one in (a, b)]
    for rail in tables[0]:
        if rail in tables[1]:
            for kind in ("gross", "above_idle"):
                amounts = [table[rail][kind] for table in tables]
                values = [None if amount is None else amount["value"] for amount in amounts]
                yield Line(f"{name}: {rail}, {kind.replace('_', ' ')}", "mJ", values[0], values[1])


def _path_lines(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[Line]:
    tables = [(mode["paths_mj"] or {}).get("mj", {}) for mode in (one, other)]
    for path in tables[0]:
        if path in tables[1]:
            yield Line(f"one image, {path} path", "mJ", tables[0][path]["value"], tables[1][path]["value"])


def compare_lines(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """The comparison as a table for a terminal."""
    lines = [f"different: {text}" for text in differences(first, second)]
    for label, quantities in compare(first, second):
        head = f"power mode {label}" if label else "quantity"
        lines.append(f"{head:<38}{'A':>12}{'B':>12}{'B / A':>9}")
        for line in quantities:
            numbers = f"{_number(line.first):>12}{_number(line.second):>12}{_ratio_text(line):>9}"
            lines.append(f"{line.name:<38}{numbers}  {line.unit}")
    return lines


def write_comparison(first: Mapping[str, Any], second: Mapping[str, Any], path: Path) -> None:
    """The comparison as a page: what differs, the table, and the ratios as bars."""
    from .charts import Bar, bars
    from .html import figure, heading, table, verdict, write_page

    told = differences(first, second)
    is_fair = not any("INVALID" in text for text in told)
    parts = [heading("Two profiles side by side", 1)]
    parts.append(verdict(is_fair, "Besides their numbers, these differ:" if told else "Nothing else differs.", told))
    for label, quantities in compare(first, second):
        if label:
            parts.append(heading(f"Power mode {label}"))
        rows = [
            (line.name, line.unit, _number(line.first), _number(line.second), _ratio_text(line)) for line in quantities
        ]
        ratios = [Bar(line.name, line.ratio) for line in quantities if line.ratio is not None and line.unit != ""]
        parts += [
            table(("", "unit", "A", "B", "B / A"), rows),
            figure("B over A; more is better for images a second alone", bars(ratios, "x", "Ratios")),
        ]
    write_page(path, "sacvit-profile --compare", parts)


def _ratio_text(line: Line) -> str:
    return "" if line.ratio is None else f"{line.ratio:.3f}"


def _number(value: float | None) -> str:
    return "null" if value is None else f"{value:.5g}"
