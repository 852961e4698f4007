"""Reads files of sacvit-profile and sacvit-tune: limited in size, checked, and refused with the reason and the cure.

A folder of sacvit-profile --out holds profile.json, and run.jsonl with the passes of every window beside it; one of
sacvit-tune --out holds tune.json, and thumbnails.npz.
"""

from __future__ import annotations

import hashlib
import json
import logging
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import msgspec
import numpy as np
import numpy.typing as npt

from ...bundle.arrays import UNREADABLE
from ...bundle.errors import SacvitError
from ...bundle.files import written_whole
from ...bundle.records import CHECKSUM
from ..timing.store import LINES_NAME, Store, read_lines
from .profile_shape import MOST_RAILS, Profile, require_profile
from .tune_shape import Tune, require_tune

logger = logging.getLogger(__name__)
PROFILE_NAME, TUNE_NAME, THUMBNAILS_NAME = "profile.json", "tune.json", "thumbnails.npz"
PROFILE_FORMAT, TUNE_FORMAT = 1, 2
MAX_LINE_BYTES = 1 << 20  # of the first line of a run
MAX_BYTES = 64 << 20  # of a result: a sweep of 101 thresholds in 8 power modes has 5 MB
MAX_SAMPLES_BYTES = 512 << 20  # of one contender's passes: 10 minutes of 2 000 per second have 54 MB
MAX_THUMBNAILS, MAX_SIDE = 64, 256  # in a file, and pixels of one
PROFILE_COMMAND = "sacvit-profile --engine EE SAC --out DIR"
TUNE_COMMAND = "sacvit-tune --engine EE SAC --data DATA --out DIR"
ResultKind = Literal["profile", "tune", "run", "log"]


def kind_of(path: Path) -> ResultKind:
    """The kind of result at a path: a folder or a .json of one of the commands, lines of a run, otherwise a tegrastats log."""
    if path.is_dir():
        found = [kind for kind, name in (("profile", PROFILE_NAME), ("tune", TUNE_NAME)) if (path / name).is_file()]
        if not found:
            raise SacvitError(
                f"{path} holds neither {PROFILE_NAME} nor {TUNE_NAME}. Give a folder that sacvit-profile --out or"
                f" sacvit-tune --out wrote; after a kill, call that command again: it continues"
            )
        if len(found) > 1:
            raise SacvitError(f"{path} holds {PROFILE_NAME} and {TUNE_NAME}. Give the file that is meant")
        return "profile" if found[0] == "profile" else "tune"
    if path.suffix == ".json":
        return "tune" if path.name == TUNE_NAME else "profile"
    return "run" if _is_run(path) else "log"


def _is_run(path: Path) -> bool:
    """Whether a file begins with a line of sacvit-run: of --power-log, a frame of --json, or an event."""
    try:
        with path.open("rb") as file:
            first = json.loads(file.readline(MAX_LINE_BYTES))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(first, dict) and not {"kind", "frame", "event"}.isdisjoint(first)


def write_result(result: Mapping[str, Any], path: Path) -> None:
    """Writes a result whole, with its checksum."""
    content = json.loads(json.dumps(result))  # as a reader will see it
    content.pop(CHECKSUM, None)
    with written_whole(path) as partial:
        partial.write_text(json.dumps(content | {CHECKSUM: _checksum_of(content)}, indent=1) + "\n", "utf-8")


def _checksum_of(content: Mapping[str, Any]) -> str:
    """As in bundle/records.py, but with Python's own JSON: a file's name may hold bytes that are no text."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_profile(path: Path) -> Profile:
    """A profile.json, or the folder that holds it. Raises SacvitError for anything else."""
    return cast(Profile, _read(path, PROFILE_NAME, PROFILE_FORMAT, Profile, require_profile, PROFILE_COMMAND))


def read_tune(path: Path) -> Tune:
    """A tune.json, or the folder that holds it. Raises SacvitError for anything else."""
    return cast(Tune, _read(path, TUNE_NAME, TUNE_FORMAT, Tune, require_tune, TUNE_COMMAND))


def _read(path: Path, name: str, wanted: int, shape: type, require: Callable[[Any], None], command: str) -> Any:
    file = path / name if path.is_dir() else path
    try:
        if file.stat().st_size > MAX_BYTES:
            raise SacvitError(f"{file} has {file.stat().st_size} bytes; the limit is {MAX_BYTES}")
        content = json.loads(file.read_bytes())  # not msgspec's: a file's name may hold bytes that are no text
    except OSError as reason:
        raise SacvitError(f"{file} cannot be read: {reason.strerror}") from None
    except (ValueError, RecursionError) as reason:
        raise SacvitError(f"{file} is not JSON ({reason}). Write it again: {command}") from None
    if not isinstance(content, dict) or "format" not in content:
        raise SacvitError(f"{file} is not a {name}: it has no format. Write one: {command}")
    if content["format"] != wanted:
        raise SacvitError(
            f"{file} has format {str(content['format'])[:20]}, this sacvit reads {wanted}. Write it again: {command}"
        )
    checksum = content.pop(CHECKSUM, None)
    if checksum is None:
        logger.warning("%s has no checksum: it may have been changed after it was written", file)
    elif checksum != _checksum_of(content):
        raise SacvitError(
            f"{file} was changed after it was written: its checksum does not fit. Write it again: {command}"
        )
    try:
        found: Any = msgspec.convert(content, shape)
        require(found)
    except ValueError as reason:
        raise SacvitError(f"{file} is damaged: {reason}. Write it again: {command}") from None
    return found


def read_samples(path: Path) -> Store | None:
    """The windows and traces beside a profile.json, for reading only; None where only the result was copied.

    A last line that is cut short by a kill is ignored. Raises SacvitError for lines that are damaged.
    """
    folder = path if path.is_dir() else path.parent
    file = folder / LINES_NAME
    if not file.is_file():
        return None
    if file.stat().st_size > MAX_BYTES:
        raise SacvitError(f"{file} has {file.stat().st_size} bytes; the limit is {MAX_BYTES}")
    # Text after the last line end was cut short by a kill.
    whole, end, _ = file.read_bytes().rpartition(b"\n")
    return Store(folder, read_lines(whole + end, file, "Measure again into another folder"))


def _require_small(folder: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Raises SacvitError where the arrays beside the lines would fill the memory, even if their files are small."""
    total = 0
    for line in lines:
        path = folder / Path(line["file"]).name
        try:
            with zipfile.ZipFile(path) as archive:
                total += sum(part.file_size for part in archive.infolist())
        except UNREADABLE as reason:
            raise SacvitError(f"{path} cannot be read: {reason}. Copy the whole folder of the run") from None
    if total > MAX_SAMPLES_BYTES:
        raise SacvitError(f"{folder}: the samples have {total} bytes; the limit is {MAX_SAMPLES_BYTES}")


def passes_of(
    samples: Store, mode: int | None, contender: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """ms of every pass in the windows of a contender, and whether an image of it went on to SAC."""
    windows = [line for line in samples.of("window") if line["mode"] == mode and line["contender"] == contender]
    _require_small(samples.folder, windows)
    arrays = [samples.arrays(line) for line in windows]
    total = np.concatenate([np.empty(0), *(one["total"] for one in arrays)])
    return total, np.concatenate([np.empty(0), *(one["survivors"] for one in arrays)]) > 0


def traces_of(samples: Store, session: int) -> list[tuple[str, npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Of each rail in a session: its name, seconds since the session began, and mW."""
    traces = [line for line in samples.of("trace") if line["session"] == session]
    _require_small(samples.folder, traces)
    found: list[tuple[str, npt.NDArray[np.float64], npt.NDArray[np.float64]]] = []
    for line in traces:
        arrays = samples.arrays(line)
        rails = enumerate(line["rails"][:MOST_RAILS])
        found += [(rail, arrays[f"{place}_s"], arrays[f"{place}_mw"]) for place, rail in rails]
    return found


def read_thumbnails(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The small pictures that sacvit-tune kept of listed images, by kind; empty where there is no file. Raises SacvitError."""
    file = (path if path.is_dir() else path.parent) / THUMBNAILS_NAME
    if not file.is_file():
        return {}
    try:
        with zipfile.ZipFile(file) as archive:
            if sum(part.file_size for part in archive.infolist()) > 4 * MAX_THUMBNAILS * MAX_SIDE * MAX_SIDE * 3:
                raise ValueError(f"larger than {MAX_THUMBNAILS} pictures of {MAX_SIDE} pixels")
        with np.load(file, allow_pickle=False) as content:
            found = {name: content[name] for name in content.files}
        for kind in ("exited_wrong", "broken_by_sac"):
            pictures, targets = found[kind], found[f"{kind}_targets"]
            if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[3] != 3 or 0 in pictures.shape[1:3]:
                raise ValueError(f"{kind}: {pictures.dtype} {pictures.shape} are no pictures")
            if targets.dtype.kind not in "iu" or targets.ndim != 2 or len(targets) != len(pictures):
                raise ValueError(f"{kind}_targets: {targets.dtype} {targets.shape} fit no {len(pictures)} pictures")
        if found["grid"].shape != () or not 1 <= int(found["grid"]) <= MAX_SIDE:
            raise ValueError("grid is no number of blocks")
    except UNREADABLE as reason:
        raise SacvitError(f"{file} is damaged: {reason}. Remove it: the page then names the images") from None
    return found
