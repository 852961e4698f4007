"""Verdicts as a person reads them: aligned columns, and numbered notes below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def table_lines(rows: Sequence[Sequence[str]], notes: Mapping[str, int]) -> list[str]:
    """The rows, all of one length, then each note behind the number that cells refer to it by."""
    widths = [max(map(len, column)) + 3 for column in zip(*rows, strict=True)]
    lines = ["".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return lines + [f"  [{mark}] {note}" for note, mark in notes.items()]
