"""How long sacvit-run takes to its first result and how much memory it needs, and a 1080p frame to become an input.

python benchmarks/startup.py --engine build/ee.onnx build/sac.onnx --camera clip.mp4
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from sacvit.bundle.preprocess import Preprocessing
from sacvit.machine.processor import describe_machine

PREPARATIONS = 200


def first_result(command: list[str]) -> tuple[float, float]:
    """Seconds from starting the process to its first line of JSON, and the most memory that it held, in MiB."""
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        spent = time.perf_counter() - began
        process.stdout.read()
        _, _, usage = os.wait4(process.pid, 0)
    json.loads(line)
    return spent, usage.ru_maxrss / 1024


def preparation_ms(rule: Preprocessing) -> list[float]:
    """Milliseconds to turn a noisy 1080p frame into the network's input, warm."""
    coarse = np.random.default_rng(0).integers(0, 256, (108, 192, 3)).astype(np.uint8)
    frame = cv2.resize(coarse, (1920, 1080), interpolation=cv2.INTER_CUBIC)
    slot = np.empty((rule.image_size, rule.image_size, 3), np.uint8)
    times = []
    for _ in range(PREPARATIONS):
        began = time.perf_counter()
        rule.apply(frame, slot)
        times.append(1e3 * (time.perf_counter() - began))
    return times[10:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", type=Path, nargs=2, required=True)
    parser.add_argument("--camera", required=True)
    parser.add_argument("--runs", type=int, default=10)
    options = parser.parse_args()
    binary = Path(sys.executable).parent / "sacvit-run"
    command = [
        str(binary),
        "--engine",
        *map(str, options.engine),
        "--camera",
        options.camera,
        "--json",
        "--num-frames",
        "1",
    ]
    command = [sys.executable, *command]  # the script by its interpreter: an environment may have moved
    print(json.dumps(describe_machine()))
    starts, peaks = zip(*(first_result(command) for _ in range(options.runs)), strict=True)
    print(
        f"first result after {statistics.median(starts):.2f} s (median of {options.runs}; {min(starts):.2f} to"
        f" {max(starts):.2f}; the first, with cold files, {starts[0]:.2f})"
    )
    print(f"peak memory {max(peaks):.0f} MiB")
    for fit in ("crop", "stretch"):
        times = preparation_ms(Preprocessing(224, fit=fit))  # type: ignore[arg-type]
        print(f"1080p frame to 224 x 224, {fit}: median {statistics.median(times):.2f} ms, best {min(times):.2f}")


if __name__ == "__main__":
    main()
