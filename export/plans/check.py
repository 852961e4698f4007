"""An engine's check, in a process of its own, and what it found as lines for a person."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...bundle.manifest import Manifest
from ...bundle.precision import Limits
from ...bundle.stage_record import StageName
from .child import run_child
from .request import Report


def run_check(
    folder: Path,
    manifest: Manifest,
    stage: StageName,
    ee: Path,
    engine: Path,
    limits: Limits,
    work: Path,
    report: Report,
) -> dict[str, Any]:
    """What `Verdict` says of a stage's engine, SAC behind that EE: checked in a process of its own."""
    return run_child(
        {
            "job": "verify",
            "folder": str(folder),
            "ee": str(ee),
            "sac": None if stage == "EE" else str(engine),
            "threshold": manifest.threshold.value,
            "limits": asdict(limits),
        },
        work,
        report,
    )


def say_guards(verdict: dict[str, Any], report: Report) -> None:
    """Reports the guards that do not hold."""
    for guard in verdict["guards"]:
        if not guard["holds"]:
            sign = ">=" if guard["at_least"] else "<="
            report(f"  {guard['name']}: {guard['value']:.4f}, wanted {sign} {guard['limit']:g}")
