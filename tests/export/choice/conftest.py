from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from sacvit.export.choice import comparison, verdicts
from sacvit.export.choice.turns import Passes
from sacvit.export.choice.worker import run_job


@pytest.fixture
def bundle(few_goldens: Path, tmp_path: Path) -> Path:
    """A bundle of this test's own, in every precision."""
    return Path(shutil.copytree(few_goldens, tmp_path / "bundle"))


class TurnsHere:
    """`Turns` without a process of its own, once through each stage for a turn. slow: ms that candidates take on top."""

    slow: ClassVar[dict[str, float]] = {}
    asked: ClassVar[list[str]] = []

    def __init__(self, name: str, spec: dict[str, Any]) -> None:
        self.name, self.start_s, self.passes = name, 0.5, Passes(spec)

    def turn(self, batch: int, survivors: int) -> dict[str, float]:
        self.asked.append(self.name)
        return {"ee_ms": 1.0 + self.slow.get(self.name, 0.0), "sac_ms": 1.0, "peak_mib": 100.0}

    def __enter__(self) -> TurnsHere:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> type[TurnsHere]:
    """Candidates are checked and run here: a process takes a second to start. Times are set by the test."""

    def check(spec: dict[str, Any], work: Path, report: Callable[[str], None], worker: str) -> dict[str, Any]:
        return dict(json.loads(json.dumps(run_job(json.loads(json.dumps(spec))))))

    class Own(TurnsHere):
        slow: ClassVar[dict[str, float]] = {}
        asked: ClassVar[list[str]] = []

    monkeypatch.setattr(verdicts, "run_child", check)
    monkeypatch.setattr(comparison, "Turns", Own)
    monkeypatch.setattr(verdicts, "TOO_SLOW", 1e9)  # real times decide nothing here
    return Own
