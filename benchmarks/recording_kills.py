"""What is left of a recording when sacvit-run is killed: kill -9 at random moments.

nice python benchmarks/recording_kills.py --engine build/ee.onnx build/sac.onnx --kills 50 --out kills.json

A server on this machine sends MJPEG. sacvit-run records it in segments of 2 s and prints a line per answer; the time of each
line is noted. After the kill, OpenCV reads every segment. Lost is the time from the answer to the last frame that plays to the
kill. The exit code is 1 when a closed segment does not play, or more than half a second is lost.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import cv2

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "fixtures"))
from mjpeg_server import MjpegServer

SEGMENT_S = 2.0
EARLIEST_S, LATEST_S = 0.0, 6.0  # after the first answer
RATE = 15  # frames per second
SIZE = (640, 360)
MOST_LOST_S = 0.5  # of a recording


def count_frames(path: Path) -> int:
    capture = cv2.VideoCapture(str(path))
    frames = 0
    while capture.read()[0]:
        frames += 1
    capture.release()
    return frames


def kill_once(engines: list[str], url: str, after_s: float, folder: Path) -> dict[str, object]:
    """One recording, killed so many seconds after its first answer."""
    code = "import sys; from sacvit.commands.run import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "--engine", *engines, "--camera", url, "--json"]
    command += ["--save", f"{folder}/", "--segment-s", str(SEGMENT_S)]
    answered_s: list[float] = []
    killed_s: list[float] = []

    def kill() -> None:
        process.kill()
        killed_s.append(time.monotonic())

    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        for _ in process.stdout:
            answered_s.append(time.monotonic())
            if len(answered_s) == 1:
                threading.Timer(after_s, kill).start()
    counts = [count_frames(path) for path in sorted(folder.iterdir())]
    recorded = sum(counts)
    last_s = answered_s[max(0, recorded - 1)]
    return {
        "killed_after_s": round(killed_s[0] - answered_s[0], 3),
        "closed_segments": max(0, len(counts) - 1),
        "closed_segments_that_play": sum(count > 0 for count in counts[:-1]),
        "frames_in_open_segment": counts[-1] if counts else 0,
        "frames_lost": len(answered_s) - recorded,
        "seconds_lost": round(max(0.0, killed_s[0] - last_s), 3),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", nargs=2, required=True, metavar=("EE", "SAC"))
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    options = parser.parse_args()
    camera, chance, kills = MjpegServer(1 / RATE, size=SIZE), random.Random(options.seed), []
    for _ in range(options.kills):
        with tempfile.TemporaryDirectory() as folder:
            kills.append(kill_once(options.engine, camera.url, chance.uniform(EARLIEST_S, LATEST_S), Path(folder)))
        print(kills[-1], flush=True)
    camera.die()
    lost = [kill["seconds_lost"] for kill in kills]
    summary = {
        "kills": len(kills),
        "closed_segments": sum(kill["closed_segments"] for kill in kills),
        "closed_segments_that_play": sum(kill["closed_segments_that_play"] for kill in kills),
        "open_segments_that_play": sum(kill["frames_in_open_segment"] > 0 for kill in kills),
        "seconds_lost_median": statistics.median(lost),
        "seconds_lost_max": max(lost),
        "frames_lost_max": max(kill["frames_lost"] for kill in kills),
    }
    print(json.dumps(summary, indent=2))
    how = {
        "opencv": cv2.__version__,
        "size": SIZE,
        "frames_per_second": RATE,
        "segment_s": SEGMENT_S,
        "seed": options.seed,
    }
    if options.out is not None:
        options.out.write_text(json.dumps({"how": how, "summary": summary, "kills": kills}, indent=1) + "\n")
    plays = summary["closed_segments"] == summary["closed_segments_that_play"]
    return int(not plays or summary["seconds_lost_max"] > MOST_LOST_S)


if __name__ == "__main__":
    sys.exit(main())
