"""Checks the lines of a run and the arrays beside them: errors name the file, the line, the place and the cure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from ...bundle.records import decode_line
from .contenders import STAGES

Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(gt=0)]
Number = Annotated[int, Meta(ge=0)]


class Power(TypedDict):
    duration_s: Positive
    mean_mw: dict[str, float]
    bound_mw: dict[str, float | None]
    reason: str | None


class _Loaded(TypedDict, total=False):  # older runs have no load
    load: Load | None
    disturbances: list[str]
    attempts: Count


class Load(TypedDict):
    duration_s: float
    cores: int
    others: float
    stolen: float
    waited: float | None
    running_mean: float
    running_max: int
    switches_per_s: float
    forced_switches_per_s: float
    load_1min: float | None


class Window(_Loaded):
    session: Number
    mode: int | None
    round: Number
    lead_passes: Number
    contender: str
    threshold: float | None
    passes: Count
    images: Count
    counts: dict[str, Number]
    begin_s: float
    duration_s: Positive
    power: Power
    file: str


class Idle(_Loaded):
    session: Number
    when: str
    begin_s: float
    power: Power


class Sensor(TypedDict):
    step_mw: float | None
    filter_s: float | None


class _Measured(TypedDict, total=False):  # of a source that measures
    kind: str
    scope: str
    total_rails: list[str]
    sensors: dict[str, Sensor]


class Source(_Measured):
    source: str | None
    reason: str | None


class Schedule(TypedDict):
    lead_s: float


class Session(TypedDict):
    session: Number
    mode: int | None
    power: Source
    schedule: Schedule
    date: str
    conditions: dict[str, Any] | None


class PowerMode(TypedDict):
    id: int
    name: str | None


class State(TypedDict):
    power_mode: PowerMode | None


class Look(TypedDict):
    session: Number
    before: State
    rows_before: list[tuple[str, str]]


class Change(TypedDict):
    text: str
    invalidates: bool


class After(TypedDict):
    session: Number
    after: dict[str, Any]
    rows_after: list[tuple[str, str]]
    changes: list[Change]


class Trace(TypedDict):
    session: Number
    rails: list[str]
    readings: Number
    faults: list[str]
    file: str


class Rise(TypedDict):
    session: Number
    rise_s: float | None


class Parts(TypedDict):
    switches: dict[str, Any]
    summary: dict[str, list[str]]


class _Layer(TypedDict, total=False):  # the first row holds only the count
    count: int
    name: str
    medianMs: float
    percentage: float


class Layers(TypedDict):
    stages: dict[str, list[_Layer]]


class Engine(TypedDict):
    file: str
    sha256: str
    precision: str


class Header(TypedDict):
    format: int
    engines: dict[str, Engine]
    backend: str
    images: str
    batch: Count
    scenario: Literal["single-stream", "offline"] | None
    survivors_share: bool
    stored_threshold: float
    versions: dict[str, str]


class Command(TypedDict):
    command: str
    date: str


class Skipped(TypedDict):
    mode: int
    reason: str


SHAPES: Mapping[str, Any] = {
    "header": Header, "command": Command, "session": Session, "look": Look, "idle": Idle, "rise": Rise,
    "window": Window, "trace": Trace, "state": After, "parts": Parts, "layers": Layers, "skipped": Skipped,
}  # fmt: skip


class _Kind(msgspec.Struct):
    kind: str


def read_line(text: bytes, sessions: set[int]) -> dict[str, Any]:
    """Checks a line of a run. sessions: those that earlier lines began. Raises ValueError with the place."""
    line = decode_line(text)
    kind = msgspec.convert(line, _Kind).kind
    if kind not in SHAPES:
        raise ValueError(f"expected one of {', '.join(SHAPES)}, found {kind!r} - at `$.kind`")
    msgspec.convert(line, SHAPES[kind])  # only as a check: entries of newer releases are kept
    if kind == "session":
        sessions.add(line["session"])
        power = line["power"]
        if power["source"] is not None and not _Measured.__annotations__.keys() <= power.keys():
            raise ValueError("expected kind, scope, total_rails and sensors beside a source - at `$.power`")
    elif kind in ("window", "idle", "rise", "trace") and line["session"] not in sessions:
        raise ValueError(f"no session {line['session']} begins before this line - at `$.session`")
    if kind in ("window", "idle"):
        if line["power"]["mean_mw"].keys() != line["power"]["bound_mw"].keys():
            raise ValueError("expected the same rails in mean_mw and bound_mw - at `$.power`")
        if line.get("disturbances") and line.get("load") is None:
            raise ValueError("expected a load beside disturbances - at `$.load`")
    if kind == "window" and sum(line["counts"].values()) != line["images"]:
        raise ValueError(f"expected numbers that add up to {line['images']} images - at `$.counts`")
    if kind == "layers":
        for stage, rows in line["stages"].items():
            if any(not {"name", "medianMs", "percentage"} <= row.keys() for row in rows[1:]):
                raise ValueError(f"expected name, medianMs and percentage behind the first row - at `$.stages.{stage}`")
    return line


def require_arrays(line: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Raises ValueError unless the arrays belong to this line."""
    names: Sequence[tuple[str, ...]]
    if line["kind"] == "window":
        names = [("begin_s", *STAGES, "total", "survivors"), ("confidence",)]
    else:
        names = [(f"{place}_s", f"{place}_mw") for place in range(len(line["rails"]))]
    for group in names:
        for name in group:
            if name not in arrays:
                raise ValueError(f"{name} is missing")
            values = arrays[name]
            if values.ndim != 1 or values.dtype.kind != "f" or not np.isfinite(values).all():
                raise ValueError(f"{name}: expected a row of finite numbers, found {values.dtype} {values.shape}")
            if len(values) != len(arrays[group[0]]):
                raise ValueError(
                    f"{name}: expected {len(arrays[group[0]])} values as in {group[0]}, found {len(values)}"
                )
    if line["kind"] == "window" and len(arrays["total"]) != line["passes"]:
        raise ValueError(f"total: expected {line['passes']} passes, found {len(arrays['total'])}")
