"""tests/gpu, which waits for a real GPU, runs here on the pretended one, so that it works on the day it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_the_tests_for_a_gpu_pass_on_the_stand_in(fake_gpu):
    fake_gpu.become("8.6")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "tests/gpu"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "skipped" not in done.stdout, done.stdout + done.stderr
