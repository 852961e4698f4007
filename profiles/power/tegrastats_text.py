"""The lines of a tegrastats log, in UTF-8 or UTF-16, with colours, or as Docker's JSON lines."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from .tegrastats_lines import LONGEST_LINE

LONGEST_KEPT = 4 * LONGEST_LINE  # characters of a stored line, with colours and JSON
MARKS = {  # byte order marks
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
COLOURS = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")  # ECMA-48


class _Docker(msgspec.Struct):
    """A line of Docker's json-file driver."""

    log: str


def log_lines(path: Path) -> Iterator[str]:
    """Each line as tegrastats printed it, in order. What cannot be decoded is replaced. Raises OSError."""
    with path.open("rb") as file, io.TextIOWrapper(file, encoding=_encoding(file), errors="replace") as text:
        while piece := text.readline(LONGEST_KEPT):
            rest = piece
            while rest and not rest.endswith("\n"):  # to the end of an overlong line, or of the file
                rest = text.readline(LONGEST_KEPT)
            yield _printed(piece)


def _encoding(file: BinaryIO) -> str:
    """The encoding, by the byte order mark; without one, UTF-16 is recognised by its zero bytes. Leaves the file at its
    beginning."""
    head = file.read(64)
    file.seek(0)
    for mark, name in MARKS.items():
        if head.startswith(mark):
            return name
    if head[1::2].count(0) > len(head) // 4:
        return "utf-16-le"
    return "utf-16-be" if head[0::2].count(0) > len(head) // 4 else "utf-8"


def _printed(line: str) -> str:
    line = line.rstrip("\r\n")
    if line.startswith('{"'):
        with suppress(ValueError, RecursionError):
            line = msgspec.json.decode(line, type=_Docker).log.rstrip("\r\n")
    return COLOURS.sub("", line)
