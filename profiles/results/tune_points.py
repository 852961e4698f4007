"""The entries of tune.json on operating points, as types that msgspec checks."""

from __future__ import annotations

from typing import TypedDict

from .quantities import Count, Number, Positive, Share


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
