"""Small runs of benchmarks/serving.py and benchmarks/fuzz_serving.py against a real server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tritonclient")  # what the benchmarks ask with

pytestmark = pytest.mark.programs

ROOT = Path(__file__).parents[2]


def test_the_benchmark_finds_every_answer_right(
    triton: Path, engines: Any, pictures: np.ndarray, tmp_path: Path
) -> None:
    np.save(tmp_path / "images.npy", pictures)
    short = ["--warm-s", "0.1", "--window-s", "0.3", "--overload-s", "1", "--clients", "4", "--instances", "1"]
    short += ["--max-batch", "16", "--bound-ms", "1"]
    command = [sys.executable, str(ROOT / "benchmarks" / "serving.py"), "--engine", *engines, *short]
    command += ["--images", str(tmp_path), "--json", str(tmp_path / "found.json"), "--environment", str(triton)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    runs = [*found["closed"], *found["exit_rates"], found["overload"], found["after"]]
    assert all(run["right"] > 0 and not run.get("wrong") and not run.get("lost") for run in runs)
    assert found["overload"]["bad_told"] > 0 and not found["overload"].get("bad_answered")
    assert [run["exit_rate"] for run in found["exit_rates"]][:3] == [1.0, 0.708, 0.0]


def test_damaged_requests_end_no_server_and_change_no_good_answer(triton: Path) -> None:
    """A small run of benchmarks/fuzz_serving.py."""
    command = [sys.executable, str(ROOT / "benchmarks" / "fuzz_serving.py"), "--environment", str(triton)]
    done = subprocess.run([*command, "--requests", "400"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    found = json.loads(done.stdout)
    assert found["requests"] >= 400 and found["outcomes"]["good 200"] > 20
