"""The entries of tune.json that pages read, as types that msgspec checks. Other entries are allowed."""

from __future__ import annotations

from typing import Annotated, TypedDict

from msgspec import Meta

from .profile_shape import require_entries
from .quantities import Count, Number, Positive, Scalar, Share
from .tune_further import Alphas, Objects
from .tune_points import AtEta, Drawn, Point

GATE = ("exited right", "exited wrong", "rescued", "sent on in vain", "broken by SAC")
MOST_POINTS = 32  # operating points: three, and one by the user's rule


class TunedEngine(TypedDict):
    file: str
    precision: str


class Mistake(TypedDict):
    image: str
    confidence: Number
    label: str
    ee: str
    sac: str


class Mistakes(TypedDict):
    eta: Number
    count: Count
    images: list[Mistake]


class Data(TypedDict):
    fit: str
    report: str
    images_fit: Count
    images_report: Count


class Spread(TypedDict):
    n: Count
    median_ms: Number
    p90_ms: Number
    p95_ms: Number
    p99_ms: Number


class Timing(TypedDict):
    ee: Spread
    sac: Spread
    warmup_passes: Count
    machines: list[dict[str, Scalar]]


class CalibrationError(TypedDict):
    before: Number
    after: Number


class Always(TypedDict):
    EE: AtEta
    SAC: AtEta


class Plain(TypedDict):
    top1: Share | None  # None: it has the two stages' weights, which were not trained as a single stage
    mean_ms: Positive


class Chosen(TypedDict):
    threshold: Number
    temperature: Number
    point: str


class Curves(TypedDict):
    fit: list[Drawn]
    report: list[Drawn]


class WithFurther(TypedDict, total=False):
    objects: Objects  # only where the data has boxes
    alphas: Alphas  # only with --alpha


class Tune(WithFurther):
    format: Count
    date: str
    host: str
    engines: dict[str, TunedEngine]
    backend: str
    batch: Annotated[int, Meta(ge=1, le=10**6)]
    model: dict[str, Scalar]
    data: Data
    timing: Timing
    unreadable: Count
    temperature: Number
    calibration_error: CalibrationError
    always: Always
    plain: Plain | None
    points: Annotated[dict[str, Point], Meta(min_length=1, max_length=MOST_POINTS)]
    chosen: Chosen | None
    curves: Curves
    exited_wrong: Mistakes
    broken_by_sac: Mistakes


def require_tune(tune: Tune) -> None:
    """Raises ValueError, with the place, for a gate that lacks an entry."""
    places = {f"$.points.{name}.report": point["report"] for name, point in tune["points"].items()}
    for place, at in {**places, "$.always.EE": tune["always"]["EE"], "$.always.SAC": tune["always"]["SAC"]}.items():
        require_entries(f"{place}.gate", at["gate"], *GATE)
