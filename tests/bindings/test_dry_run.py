"""tests/gpu, which waits for a real GPU, runs here on the pretended one, so that it works on the day it is needed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from trt_api import faults

pytestmark = pytest.mark.programs

API = Path(__file__).parents[1] / "fake_gpu" / "tensorrt" / "api"
ROOT = Path(__file__).parent.parent.parent


BELIEFS = "cuda or building or contexts"  # the files that ask about the stand-in's beliefs
# Tests to run and how many of them a version skips, for want of what they ask about: PyCUDA for one.
RUNS = {
    "8.6": (f"int8 or command or {BELIEFS}", 4),  # INT8 and the command: the other precisions take the same way
    "10.3": (BELIEFS, 1),
    "11.4": (BELIEFS, 2),
    "rtx-1.7": ("rtx", 1),
}


@pytest.mark.parametrize("version", RUNS)
def test_the_tests_for_a_gpu_pass_on_the_stand_in(fake_gpu, tmp_path, monkeypatch, version):
    chosen, skips = RUNS[version]
    fake_gpu.become(version)
    # A GPU that TensorRT for RTX has as a target. The copies that keep it busy are a share of its memory.
    fake_gpu.reset(compute=(8, 9), total_bytes=512 << 20)
    monkeypatch.setenv("FAKE_TENSORRT_NOTES", str(tmp_path / "calls.json"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-k", chosen, "tests/gpu"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and done.stdout.count("SKIPPED") == skips, done.stdout + done.stderr
    calls = {(*call[:3], tuple(call[3])) for call in json.loads((tmp_path / "calls.json").read_text())}
    assert calls and faults(calls, json.loads((API / f"{version}.json").read_text())) == []


PREPARE = """
import sys
from pathlib import Path
import numpy as np
sys.path.insert(0, "benchmarks")
from gpu_prepare import write_plain
from sacvit.bundle.goldens import read_goldens
from sacvit.model.config import preset
folder = Path(sys.argv[1])
geometry = dict(image_size=32, patch_size=4, width=16, depth=4, heads=2, hidden=32, classes=5)
write_plain(preset("demo", **geometry), folder)
np.save(folder / "images.npy", read_goldens(folder).images[:12])
"""


def test_the_benchmark_for_a_gpu_runs_on_the_stand_in(fake_gpu, warm_bin, few_goldens, tmp_path):
    fake_gpu.become("10.16")
    for name in ("digits", "tiny"):
        shutil.copytree(few_goldens, tmp_path / name)
    command = [
        sys.executable,
        "benchmarks/gpu.py",
        "--bundles",
        tmp_path,
        "--model",
        "tiny",
        "--out",
        tmp_path / "gpu.json",
    ]
    command += [
        "--precision",
        "int8",
        "--batch",
        "1",
        "4",
        "--rounds",
        "2",
        "--passes",
        "20",
        "--export-times",
        tmp_path / "times",
    ]
    for step in ([warm_bin / "python", "-c", PREPARE, tmp_path / "tiny"], command):
        done = subprocess.run(step, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert (
        report["machine"]["tensorrt"].startswith("10.16")
        and report["precisions"]["int8"]["digits"]["decisions_equal"] > 0.8
    )
    runs = report["precisions"]["int8"]["runs"]
    assert [run["batch"] for run in runs] == [1, 4] and all(run["captured"] for run in runs)
    assert set(runs[0]["speedup"]) == {"chain over plain", "graph over enqueue", "overlap over chain"}
    assert len(list((tmp_path / "times").glob("*.json"))) >= 6
