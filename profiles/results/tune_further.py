"""The entries of tune.json that some runs have: on boxed objects, and on several shares of target blocks."""

from __future__ import annotations

from typing import Annotated, TypedDict

from msgspec import Meta

from .quantities import Count, Number, Positive, Share
from .tune_points import AtEta, Drawn, Intervals, Promise

MOST_SHARES = 32


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
    shares: Annotated[list[AlphaShare], Meta(min_length=1, max_length=MOST_SHARES)]
    points: dict[str, AlphaPoint]
    by_confidence: dict[str, ByConfidence]
    front: list[FrontPoint]
