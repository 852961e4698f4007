"""How old a camera's frame is at the answer: by source, by rate, and by what happens to the camera.

nice python benchmarks/source_faults.py --engine build/ee.onnx build/sac.onnx --source http-mjpeg

A server on this machine draws the time into each picture. Frames go through the same source and pipeline as in sacvit-run; the
age is the time from drawing to the answer, so encoder, network, decoder and both stages are in it. At rates below one frame
per second a run takes minutes. RTSP needs the system's Python with GStreamer's RTSP server: see stamped_camera.py. `--through
ffmpeg` reads RTSP as on a machine without GStreamer.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "fixtures"))
from camera_process import CameraProcess
from stamped_camera import read_stamp

from sacvit import Pipeline
from sacvit.runtime.sources.gstreamer import rtsp
from sacvit.runtime.sources.opening import open_source

SOURCES = ("http-mjpeg", "rtsp-mjpeg", "rtsp-h264", "rtsp-h265")
RATES = (60.0, 30.0, 5.0, 1.0, 0.5, 0.2)
FRAMES = {60.0: 200, 30.0: 100, 5.0: 30, 1.0: 8, 0.5: 5, 0.2: 4}
RESIZED_FRAMES = 150  # more: the size changes every 2 s
GONE_S, FROZEN_S, SLOW_S = 3.0, 4.0, 3.0
FAULTS = ("steady", "slow start", "killed", "frozen", "resized")


@dataclass
class Answer:
    """When an answer came, and how old its frame was. In seconds."""

    at_s: float
    age_s: float


@contextmanager
def answers(camera: CameraProcess, pipeline: Pipeline) -> Iterator[Iterator[Answer]]:
    source = open_source(camera.url)

    def each() -> Iterator[Answer]:
        for frame in source:
            pipeline(cv2.cvtColor(frame.image, cv2.COLOR_BGR2RGB))
            yield Answer(time.monotonic(), time.time() - read_stamp(frame.image))

    try:
        yield each()
    finally:
        source.close()


class Fault(threading.Thread):
    """What happens to the camera while answers are awaited. ended_s: when it was over, monotonic; infinite until then."""

    def __init__(self, kind: str, camera: CameraProcess) -> None:
        super().__init__(daemon=True)
        self.kind, self.camera, self.ended_s = kind, camera, math.inf

    def run(self) -> None:
        if self.kind == "killed":
            self.camera.kill()
            time.sleep(GONE_S)
            self.camera.start()
        else:
            self.camera.freeze()
            time.sleep(FROZEN_S)
            self.camera.thaw()
        self.ended_s = time.monotonic()


def measure(kind: str, rate: float, fault: str, pipeline: Pipeline, python: str) -> dict[str, float]:
    """Seconds to the first answer, or to the first one after the fault ended, and ages in milliseconds."""
    more = ["--resized"] if fault == "resized" else []
    camera = CameraProcess(kind, rate, *more, first_s=SLOW_S if fault == "slow start" else 0.0, python=python)
    count, began = FRAMES[rate] + (RESIZED_FRAMES if more else 0), time.monotonic()
    try:
        with answers(camera, pipeline) as stream:
            if fault in ("killed", "frozen"):
                for _ in range(max(4, count // 4)):
                    next(stream)
                spoilt = Fault(fault, camera)
                spoilt.start()
                # A frame that was drawn before the fault ended may come after it.
                found = [next(one for one in stream if one.at_s - one.age_s >= spoilt.ended_s)]
                began = spoilt.ended_s
            else:
                found = [next(stream)]
            found += [next(stream) for _ in range(count - 1)]
    finally:
        camera.kill()
    ages_ms = [1e3 * one.age_s for one in found]
    return {
        "first_s": round(found[0].at_s - began, 2),
        "first_age_ms": round(ages_ms[0]),
        "median_ms": round(statistics.median(ages_ms[1:])),
        "largest_ms": round(max(ages_ms)),
        "answers": len(found),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", nargs=2, required=True, metavar=("EE", "SAC"))
    parser.add_argument("--source", choices=SOURCES, action="append", help="may be given several times; default: all")
    parser.add_argument("--rate", type=float, choices=RATES, action="append", help="frames per second; default: all")
    parser.add_argument("--fault", choices=FAULTS, action="append", help="default: all")
    parser.add_argument("--through", choices=("gstreamer", "ffmpeg"), default="gstreamer", help="of RTSP")
    parser.add_argument("--system-python", default="/usr/bin/python3", help="a Python with GStreamer's RTSP server")
    options = parser.parse_args()
    if options.through == "ffmpeg":
        rtsp.gstreamer = lambda: None
    pipeline = Pipeline.load(*options.engine)
    for kind in options.source or SOURCES:
        for fault in options.fault or FAULTS:
            for rate in options.rate or RATES:
                found = measure(kind, rate, fault, pipeline, options.system_python)
                print(
                    json.dumps({"source": kind, "through": options.through, "fault": fault, "rate": rate, **found}),
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
