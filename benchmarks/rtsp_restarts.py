"""An RTSP server that is killed and started again and again: how soon sacvit-run answers, and what it holds.

nice python benchmarks/rtsp_restarts.py --engine build/ee.onnx build/sac.onnx --restarts 50 > docs/measured/rtsp_restarts.json

The server is GStreamer's, in a process that is ended by SIGKILL: tests/fixtures/stamped_camera.py says what it needs. It is
away for 1.5 s. The time counts from when it serves again to the first answer. The exit code is 1 when one took more than 2 s,
or when the second half of the restarts holds more than the first.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from source_soak import MOST_GROWTH_MIB, Answers, held_by

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "fixtures"))
from camera_process import SYSTEM_PYTHON, CameraProcess

AWAY_S = 1.5
FLOW_S = 1.0
BACK_S = 2.0  # the promise of docs/cameras.md
COMMAND = "import sys; from sacvit.commands.run import main; sys.exit(main())"
FFMPEG = "from sacvit.runtime.sources.gstreamer import rtsp; rtsp.gstreamer = lambda: None; "


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", nargs=2, required=True, metavar=("EE", "SAC"))
    parser.add_argument("--restarts", type=int, default=50)
    parser.add_argument("--kind", default="rtsp-h264")
    parser.add_argument("--through", choices=("gstreamer", "ffmpeg"), default="gstreamer")
    parser.add_argument("--system-python", default=SYSTEM_PYTHON, help="a Python with GStreamer's RTSP server")
    options = parser.parse_args()
    camera = CameraProcess(options.kind, 30, python=options.system_python)
    code = FFMPEG * (options.through == "ffmpeg") + COMMAND
    command = [sys.executable, "-c", code, "--engine", *options.engine, "--camera", camera.url, "--json"]
    back_s, held = [], []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            answers = Answers(process)
            answers.wait_for_more()
            for number in range(options.restarts):
                time.sleep(FLOW_S)
                camera.kill()
                time.sleep(AWAY_S)
                before = len(answers.ages_ms)
                camera.start()
                began = time.monotonic()
                while len(answers.ages_ms) == before and time.monotonic() - began < 10 * BACK_S:
                    time.sleep(0.005)
                back_s.append(round(time.monotonic() - began, 3))
                held.append(held_by(process.pid))
                print(number + 1, back_s[-1], held[-1], file=sys.stderr, flush=True)
        finally:
            process.terminate()
            camera.kill()
    halves = held[: len(held) // 2], held[len(held) // 2 :]
    medians = [
        {name: statistics.median(getattr(one, name) for one in half) for name in asdict(held[0])} for half in halves
    ]
    found = {
        "kind": options.kind,
        "through": options.through,
        "restarts": options.restarts,
        "back_s": back_s,
        "median_back_s": statistics.median(back_s),
        "longest_back_s": max(back_s),
        "held_in_first_and_second_half": medians,
        "held": [asdict(one) for one in held],
    }
    print(json.dumps(found, indent=1))
    first, second = medians
    leaks = second["memory_mib"] - first["memory_mib"] > MOST_GROWTH_MIB
    leaks = leaks or any(second[name] > first[name] for name in ("threads", "files"))
    return int(max(back_s) > BACK_S or leaks)


if __name__ == "__main__":
    sys.exit(main())
