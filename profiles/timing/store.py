"""A run on disk: a record per line, appended as it is measured, with arrays beside it. A killed run is continued from there."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...bundle.arrays import UNREADABLE
from ...bundle.errors import SacvitError, UsageError
from ...bundle.files import written_whole
from ...bundle.records import decode_line, encode_line
from .run_lines import read_line, require_arrays

FORMAT = 1
LINES_NAME = "run.jsonl"
MAX_BYTES = 256 << 20  # of the lines; a week of windows has 100 MB
MAX_ARRAYS_BYTES = 1 << 30
Arrays = Mapping[str, npt.NDArray[Any]]


class Store:
    """The lines of a run, of which the first is its header. Made by `open_store`."""

    def __init__(self, folder: Path, lines: list[dict[str, Any]]) -> None:
        self.folder, self.lines = folder, lines
        self.path = folder / LINES_NAME

    def add(self, kind: str, content: Mapping[str, Any], arrays: Arrays | None = None) -> dict[str, Any]:
        """Appends a line, whole or not at all as far as the disk allows; arrays go into a file that it names."""
        line = {"kind": kind, **content}
        if arrays is not None:
            line["file"] = f"{kind}-{len(self.lines):04d}.npz"
            with written_whole(self.folder / line["file"]) as partial, partial.open("wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
                file.flush()
                os.fsync(file.fileno())  # on the disk before the line that names it
        text = encode_line(line)
        with self.path.open("ab") as lines:
            lines.write(text + b"\n")
            lines.flush()
            os.fsync(lines.fileno())
        self.lines.append(decode_line(text))
        return self.lines[-1]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["kind"] == kind]

    def arrays(self, line: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
        """The arrays that were stored beside a window or a trace. Raises SacvitError when it is gone or damaged."""
        path = self.folder / Path(str(line["file"])).name  # only the name: the line is not trusted
        try:
            with zipfile.ZipFile(path) as archive:
                if sum(part.file_size for part in archive.infolist()) > MAX_ARRAYS_BYTES:
                    raise ValueError("larger than any window")
            with np.load(path, allow_pickle=False) as content:
                arrays = {name: content[name] for name in content.files}
            require_arrays(line, arrays)
            return arrays
        except UNREADABLE as reason:
            raise SacvitError(f"{path} cannot be read: {reason}. Remove {self.folder} and measure again") from None


def open_store(folder: Path, header: Mapping[str, Any]) -> Store:
    """The run in a folder, or a new one.

    header: the conditions that all windows must share. Raises UsageError when the folder holds another run,
    SacvitError when its lines are damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    store = read_store(folder)
    if store is None:
        store = Store(folder, [])
        store.path.unlink(missing_ok=True)
        store.add("header", {"format": FORMAT, **header})
        return store
    found, wanted = store.lines[0], decode_line(encode_line({"kind": "header", "format": FORMAT, **header}))
    different = [name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)]
    if different:
        told = "; ".join(
            f"{name}: {_short(found.get(name))}, now {_short(wanted.get(name))}" for name in sorted(different)
        )
        raise UsageError(f"--out {folder} holds another run ({told}). Give another folder, or remove it")
    return store


def read_store(folder: Path) -> Store | None:
    """The run in a folder; None where there is none yet. Raises SacvitError when its lines are damaged."""
    path = folder / LINES_NAME
    lines = _read_lines(path) if path.exists() else []
    return Store(folder, lines) if lines else None


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of an earlier run. A last line that was cut short by a kill is removed."""
    if path.stat().st_size > MAX_BYTES:
        raise SacvitError(f"{path} has {path.stat().st_size} bytes; the limit is {MAX_BYTES}")
    content = path.read_bytes()
    whole, _, cut = content.rpartition(b"\n")
    if cut:
        with written_whole(path) as partial:
            partial.write_bytes(whole + b"\n" if whole else b"")
    cure = f"Remove {path.parent} and measure again, or give another --out"
    lines = read_lines(whole + b"\n" if whole else b"", path, cure)
    if lines and lines[0]["kind"] != "header":
        raise SacvitError(f"{path} does not begin with a header: it is no run of sacvit-profile")
    return lines


def read_lines(content: bytes, file: Path, cure: str) -> list[dict[str, Any]]:
    """The lines of a run, which all are complete. cure: for a damaged one.

    Raises SacvitError for a damaged line, with its number and place.
    """
    lines: list[dict[str, Any]] = []
    sessions: set[int] = set()
    for number, text in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            lines.append(read_line(text, sessions))
        except (ValueError, RecursionError) as reason:
            raise SacvitError(f"{file}, line {number} is damaged: {reason}. {cure}") from None
    return lines


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
