"""The check of a candidate in a process of its own: a backend may die, and what it holds is given back when it ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...bundle.errors import PlanError, SacvitError
from ..plans.worker import do_job
from .judge import judge_candidate


def run_job(spec: dict[str, Any]) -> dict[str, Any]:
    """What `judge_candidate` says. Raises PlanError for whatever a backend raises."""
    try:
        found, pair_ms = judge_candidate(
            Path(spec["folder"]),
            Path(spec["ee"]),
            Path(spec["sac"]),
            spec["provider"],
            spec["batches"],
            spec["slowest_ms"],
        )
        return {"candidate": found, "pair_ms": pair_ms}
    except (SacvitError, ModuleNotFoundError):
        raise
    except Exception as fault:
        raise PlanError(f"{type(fault).__name__}: {fault}") from fault


def main(spec_path: str, result_path: str) -> None:
    do_job(spec_path, result_path, run_job)
