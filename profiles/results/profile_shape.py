"""The entries of profile.json that pages read, as types that msgspec checks. Other entries are allowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypedDict

from msgspec import Meta

from ..timing.run_lines import Change, Engine, Parts, Sensor, Skipped
from ..timing.run_lines import State as Machine
from .quantities import Count, Number, Positive, Scalar, Share

MOST_MODES, MOST_CONTENDERS, MOST_RAILS = 32, 250, 32  # of a run: a sweep has 101 thresholds at most


class Amount(TypedDict):
    value: Number
    plus_minus: Number | None


class Measured(TypedDict, total=False):
    median_ms: Number
    mean_ms: Number
    p90_ms: Number
    p95_ms: Number
    p99_ms: Number
    min_ms: Number
    max_ms: Number
    cov: Number


class Times(Measured):
    n: Count  # with 0, the other entries are missing


class RailEnergy(TypedDict):
    gross: Amount | None
    above_idle: Amount | None
    mean_mw: Number


class Energy(TypedDict):
    mj_per_image: Annotated[dict[str, RailEnergy], Meta(max_length=MOST_RAILS)] | None
    reason: str | None


class Scenario(TypedDict):
    scenario: str
    metric: str
    value: Number | None
    note: str
    not_kept: list[str]


class Load(TypedDict):
    others: Number | None
    stolen: Number | None
    waited: Number | None
    running_mean: Number
    repeated_windows: Count


class Contender(TypedDict):
    threshold: Number | None
    images: Count
    exit_rate: Share | None
    throughput: Positive
    ms_per_image: Positive
    ms_per_image_plus_minus: Number | None
    stages_ms: dict[str, Times]
    paths_ms: dict[str, Times]
    energy: Energy
    load: Load | None
    scenario: Scenario | None


class PayOff(TypedDict):
    exit_rate: Number
    measured_exit_rate: Share
    exit_rate_low: Number | None
    exit_rate_high: Number | None
    gain: Positive
    gain_low: Number | None
    gain_high: Number | None
    rounds: Count
    verdict: str  # of pay_off.Verdict
    text: str


class BreakEven(TypedDict):
    by_threshold: dict[str, dict[str, PayOff | None]] | None
    reason: str | None


class State(TypedDict):
    before: Machine
    rows_before: list[tuple[str, str]]
    rows_after: list[tuple[str, str]]


class Source(TypedDict, total=False):
    scope: str
    total_rails: list[str]
    sensors: dict[str, Sensor]


class Power(Source):
    source: str | None  # if it is null, the source's entries are missing
    reason: str | None
    rise_s: list[Number | None]
    faults: list[str]


class PathEnergy(TypedDict):
    mj: Annotated[dict[str, Amount], Meta(max_length=MOST_CONTENDERS)]
    idle_mw: Amount | None
    residual_mw: Number
    windows: Count
    reason: str | None


class Mode(TypedDict):
    mode: int | None
    dates: list[str]
    valid: bool | None
    changes: list[Change]
    warnings: list[str]
    state: State | None
    power: Power
    main: str | None
    contenders: Annotated[dict[str, Contender], Meta(max_length=MOST_CONTENDERS)]
    paths_mj: PathEnergy | None
    break_even: BreakEven


class Layer(TypedDict, total=False):
    name: str  # the first row holds only a count
    medianMs: Number
    percentage: Number


class Top1(TypedDict):
    value: Share
    threshold: Share
    data: str


class Found(TypedDict, total=False):
    host: str
    top1: Top1 | None


class Profile(Found):
    format: Count
    engines: dict[str, Engine]
    backend: str
    batch: Count
    images: str
    model: dict[str, Scalar]
    machine: dict[str, Scalar]
    versions: dict[str, str]
    command: list[str]
    parts: list[Parts]
    layers: list[dict[str, list[Layer]]]
    skipped_modes: list[Skipped]
    modes: Annotated[list[Mode], Meta(min_length=1, max_length=MOST_MODES)]


def require_profile(profile: Profile) -> None:
    """Raises ValueError with the place for entries that contradict each other, which types cannot check."""
    for place, mode in enumerate(profile["modes"]):
        _require_mode(f"$.modes[{place}]", mode)
    for layers in profile["layers"]:
        for stage, rows in layers.items():
            for row in rows:
                if "name" in row:
                    require_entries(f"$.layers[...].{stage}", row, "medianMs", "percentage")


def _require_mode(place: str, mode: Mode) -> None:
    for name, contender in mode["contenders"].items():
        _require_contender(f"{place}.contenders.{name}", contender)
    if mode["power"]["source"] is not None:
        require_entries(f"{place}.power", mode["power"], "scope", "total_rails", "sensors")
    if mode["main"] is not None:
        require_entries(f"{place}.contenders", mode["contenders"], mode["main"])
        main = mode["contenders"][mode["main"]]
        require_entries(f"{place}.contenders.{mode['main']}.paths_ms", main["paths_ms"], "exit", "full")
        if main["threshold"] is None:
            raise ValueError(f"{mode['main']!r} is no chain - at `{place}.main`")


def _require_contender(place: str, contender: Contender) -> None:
    if contender["threshold"] is not None and contender["exit_rate"] is None:
        raise ValueError(f"expected an exit rate beside a threshold - at `{place}.exit_rate`")
    require_entries(f"{place}.paths_ms", contender["paths_ms"], "all")
    for times in (*contender["paths_ms"].values(), *contender["stages_ms"].values()):
        if times["n"]:
            require_entries(f"{place}, its times", times, *Measured.__annotations__)


def require_entries(place: str, content: Mapping[str, object], *names: str) -> None:
    for name in names:
        if name not in content:
            raise ValueError(f"{name!r} is missing - at `{place}`")
