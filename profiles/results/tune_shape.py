"""The entries of tune.json that pages read, as types that msgspec checks. Other entries are allowed."""

from __future__ import annotations

from typing import Annotated, TypedDict

from msgspec import Meta

from .profile_shape import require_entries
from .quantities import Count, Number, Positive, Scalar, Share

GATE = ("exited right", "exited wrong", "rescued", "sent on in vain", "broken by SAC")
MOST_POINTS = 32  # operating points: three, and one by the user's rule


class TunedEngine(TypedDict):
    file: str
    precision: str


class AtEta(TypedDict):
    top1: Share
    top5: Share
    exit_rate: Share
    mean_ms: Positive
    p99_ms: Number
    mj: Number | None
    gate: dict[str, Share]  # of GATE


class Intervals(TypedDict):
    top1: tuple[Number, Number]


class Promise(TypedDict):
    allowed: Number
    at_most: Number
    is_kept: bool
    images: Count
    needed: Count


class Point(TypedDict):
    eta: Number
    report: AtEta
    intervals: Intervals
    promise: Promise | None
    top1_lost: Number
    time_saved: Number
    self_deception: Number


class Drawn(TypedDict):
    eta: Number
    exit_rate: Share
    top1: Share
    mean_ms: Positive


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


class Interval(TypedDict):
    """A share with the ends of its 95 % interval."""

    value: Share
    low: Share
    high: Share


class ObjectBin(TypedDict):
    images: Annotated[int, Meta(ge=1, le=10**9)]
    share: Interval
    ee_top1: Interval
    sac_top1: Interval


class ConfidenceBin(ObjectBin):
    confidence: Share  # the mean


class ShareBin(ObjectBin):
    least: Share
    most: Share


class ObjectShare(TypedDict):
    found: Interval
    best: Share  # of the same number of blocks, chosen by the boxes
    chance: Share  # of blocks chosen at random


class Missed(TypedDict):
    image: str
    share: Share
    confidence: Number
    ee_right: bool
    sac_right: bool


class Objects(TypedDict):
    """How much of the boxed objects lies inside the target blocks, on the report split."""

    images: Count
    boxes: Count
    out_of_view: Count
    targets: Count
    blocks: Count
    share: ObjectShare | None  # None: no box is in view
    by_confidence: list[ConfidenceBin]
    by_share: list[ShareBin]
    missed: list[Missed]


Difference = tuple[Number, Number, Number]  # value, and the ends of its paired 95 % interval


class Differences(TypedDict):
    """top1 in [-1, 1]; time: as a share of the other's."""

    top1: Difference
    time: Difference


class AlphaShare(TypedDict):
    """A SAC of its own alpha on every image, and its curve over eta."""

    alpha: Share
    sac_ms: Positive
    top1: Share
    low: Share
    high: Share
    curve: list[Drawn]


class AlphaPoint(TypedDict):
    """The best alpha and eta of a rule, and how they differ from the best eta of the bundle's own alpha."""

    alpha: Share
    eta: Number
    report: AtEta
    intervals: Intervals
    promise: Promise | None
    own_eta: Number
    against_own: Differences


class AlphaReport(TypedDict):
    top1: Share
    low: Share
    high: Share
    mean_ms: Positive
    exit_rate: Share


class One(TypedDict):
    alpha: Share
    eta: Number


class ByConfidence(TypedDict):
    """SAC `hard` for images below the confidence `below`, `easy` for the others that go on, against the best single SAC."""

    hard: Share
    easy: Share
    below: Number
    eta: Number
    one: One
    report: AlphaReport
    against_one: Differences
    beats: bool


class FrontPoint(AlphaReport):
    alpha: Share
    eta: Number


class Alphas(TypedDict):
    """Several SACs with different shares of target blocks. Times are medians of passes by turns."""

    own: Share
    ee_ms: Positive
    shares: Annotated[list[AlphaShare], Meta(min_length=1, max_length=MOST_POINTS)]
    points: dict[str, AlphaPoint]
    by_confidence: dict[str, ByConfidence]
    front: list[FrontPoint]


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
