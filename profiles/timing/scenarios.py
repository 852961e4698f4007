"""Loads by MLPerf Inference's rules, for comparison. They are not MLPerf results, which are audited.

Source: mlcommons/inference_policies, inference_rules.adoc (v3.0 and later), and LoadGen's mlperf.conf.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

PERCENT = 90.0  # of SingleStream's metric
CONFIDENCE = 0.99  # of early stopping
NOT_MLPERF = "not a result of MLPerf: only its way to load the system"


@dataclass(frozen=True)
class Scenario:
    """single-stream: one image per query, the next when the last is answered; offline: all images at hand, largest batch.

    duration_s and images: the minimum by the rules.
    """

    is_batched: bool
    duration_s: float
    images: int


SCENARIOS = {
    "single-stream": Scenario(is_batched=False, duration_s=600.0, images=64),  # early stopping sets the minimum
    "offline": Scenario(is_batched=True, duration_s=600.0, images=24576),
}


def judge(name: str, latencies_ms: Sequence[float], images: int, duration_s: float) -> dict[str, Any]:
    """The scenario's metric, and the rules that the run did not keep."""
    scenario = SCENARIOS[name]
    broken = []
    if duration_s < scenario.duration_s:
        broken.append(f"{duration_s:.0f} s; the rules ask for {scenario.duration_s:.0f}")
    if images < scenario.images:
        broken.append(f"{images} images; the rules ask for {scenario.images}")
    if scenario.is_batched:
        metric: dict[str, Any] = {"metric": "images/s", "value": round(images / duration_s, 3)}
    else:
        estimate = early_stopping_ms(latencies_ms)
        metric = {
            "metric": f"{PERCENT:.0f}th percentile latency, early-stopping estimate, ms",
            "value": None if estimate is None else round(estimate, 6),
        }
        if estimate is None:
            broken.append(f"{len(latencies_ms)} queries are too few for early stopping: 64 are the least")
    return {"scenario": name, **metric, "not_kept": broken, "note": NOT_MLPERF}


def early_stopping_ms(latencies_ms: Sequence[float]) -> float | None:
    """The latency that PERCENT of all queries keep, with CONFIDENCE, estimated from a sample; None for too few queries.

    It is the largest one left after discarding as many as may lie above the percentile by chance.
    """
    discarded = most_discarded(len(latencies_ms))
    return None if discarded is None else float(sorted(latencies_ms)[len(latencies_ms) - 1 - discarded])


def most_discarded(queries: int) -> int | None:
    """The number of slowest queries that can be discarded; None where there are too few queries.

    One less than the largest t for which t or fewer slow queries come by chance with a probability of 1 - CONFIDENCE at most:
    the query that gives the estimate counts as a slow one, as in LoadGen.
    """
    share = 1 - PERCENT / 100
    log_term = queries * math.log1p(-share)  # of no slow query; as logarithms, since the first terms underflow
    total, slow = 0.0, -1
    for count in range(queries):
        total += math.exp(log_term)
        if total > 1 - CONFIDENCE:
            break
        slow = count
        log_term += math.log(queries - count) - math.log(count + 1) + math.log(share) - math.log1p(-share)
    return slow - 1 if slow >= 1 else None
