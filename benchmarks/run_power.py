"""What --power and --power-log cost a run of sacvit-run, by turns without and with them.

    sacvit-export --ckpt examples/digits/model.pth --out build
    python benchmarks/run_power.py --engine build/ee.onnx build/sac.onnx --camera clip.mp4

There is no sensor here. `ina` is a folder of files as sysfs shows an AGX Orin's two INA3221; on a board a reading takes longer
by its I2C transfers, in which the processor sleeps. `tegrastats` is a program that prints real lines of an AGX Orin ten times
per second. Both runs print the lines of --json. Windows are 1 s long in place of 10 s or more, so that every turn has
some, which costs more than a real run.

`cost` is the processor time of the two threads and of the two sinks, over the time of the run: all of that is lost to the
engines at worst. `slower` is what the turns show, with McGill's notch: on a busy machine it is far wider than the cost.
Writes docs/measured/run_power.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from profiler import write_sensors

from sacvit.machine.processor import describe_machine
from sacvit.profiles.beside_run import run_power
from sacvit.profiles.beside_run.options import PowerOptions
from sacvit.profiles.beside_run.run_power import RunPower
from sacvit.profiles.power.open import Place
from sacvit.runtime.chain.pipeline import Pipeline
from sacvit.runtime.loop import run_chain
from sacvit.runtime.options import LoopOptions
from sacvit.runtime.sinks.lines import JsonLines
from sacvit.runtime.sinks.sink import Answer, Sink
from sacvit.runtime.sources.frame import OpenOptions
from sacvit.runtime.sources.opening import open_sources

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "fixtures"))
from tegrastats_program import Tegrastats

REAL_LINES = Path(__file__).parent.parent / "tests" / "profiles" / "tegrastats" / "agx-orin-jp6-root.txt"
OUT = Path(__file__).parent.parent / "docs" / "measured" / "run_power.json"
WINDOW_S = 1.0


@dataclass
class Turn:
    """One run: its frames and their time, and the processor time of each part in seconds."""

    frames: int = 0
    first_s: float = 0.0
    last_s: float = 0.0
    cpu_s: dict[str, float] = field(default_factory=dict)

    @property
    def frame_s(self) -> float:
        return (self.last_s - self.first_s) / (self.frames - 1)


class Timed:
    """A sink, and the processor time that it took."""

    def __init__(self, name: str, sink: Sink, turn: Turn) -> None:
        self._name, self._sink, self._turn = name, sink, turn

    def write(self, answer: Answer) -> None:
        began = time.thread_time()
        self._sink.write(answer)
        self._turn.cpu_s[self._name] = self._turn.cpu_s.get(self._name, 0.0) + time.thread_time() - began

    def close(self) -> None:
        self._sink.close()


class Clock:
    """Counts the frames. It is closed first, and reads the threads' processor time while they live."""

    def __init__(self, turn: Turn, threads: Callable[[], dict[str, int]]) -> None:
        self._turn, self._threads = turn, threads

    def write(self, answer: Answer) -> None:
        self._turn.last_s = time.perf_counter()
        if not self._turn.frames:
            self._turn.first_s = self._turn.last_s
        self._turn.frames += 1

    def close(self) -> None:
        for name, ident in self._threads().items():
            self._turn.cpu_s[name] = time.clock_gettime(time.pthread_getcpuclockid(ident))


def take_turn(pipeline: Pipeline, camera: str, frames: int, source: str | None, log: Path) -> Turn:
    turn, threads, sinks = Turn(), {}, []
    power = None if source is None else RunPower(PowerOptions(source, log))
    if power is not None:
        power.begin(pipeline)
        assert power._windows is not None and power._sampler is not None
        power._windows.needed_s = WINDOW_S
        threads = {"sampler": power._sampler._thread.ident or 0, "log": power._thread.ident or 0}
        sinks.append(Timed("join", power, turn))
    sinks.append(Timed("lines", JsonLines(power.line if power else lambda: None), turn))
    sinks.append(Clock(turn, lambda: threads))
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        run_chain(pipeline, open_sources([camera], OpenOptions(loop=True)), sinks, LoopOptions(num_frames=frames))
    return turn


def compare(turns: list[tuple[Turn, Turn]]) -> dict[str, Any]:
    ratios = sorted(with_power.frame_s / bare.frame_s - 1 for bare, with_power in turns)
    quarter = len(ratios) // 4
    half = 1.58 * (ratios[-1 - quarter] - ratios[quarter]) / len(ratios) ** 0.5  # McGill's notch: 95 %
    lasted = sum(one.last_s - one.first_s for _, one in turns)
    shares = {name: sum(one.cpu_s[name] for _, one in turns) / lasted for name in ("sampler", "log", "join")}
    lines = [
        sum(one.cpu_s["lines"] for one in side) / sum(one.frames for one in side) for side in zip(*turns, strict=True)
    ]
    shares["lines"] = (lines[1] - lines[0]) * sum(one.frames for _, one in turns) / lasted
    return {
        "frames_per_s": round(statistics.median(1 / bare.frame_s for bare, _ in turns), 1),
        "cost": round(sum(shares.values()), 5),
        "cost_by_part": {name: round(share, 5) for name, share in shares.items()},
        "slower": round(statistics.median(ratios), 5),
        "slower_plus_minus": round(half, 5),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", type=Path, nargs=2, required=True, metavar=("EE", "SAC"))
    parser.add_argument("--camera", required=True, help="a video or a folder of pictures, which starts over at its end")
    parser.add_argument("--name", default="digits", help="of the model, in the result")
    parser.add_argument("--turn-s", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    pipeline = Pipeline.load(*options.engine)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sensors(folder / "root")
        lines = [line for line in REAL_LINES.read_text().splitlines() if line.startswith("07-")] * 100
        program = Tegrastats(folder / "bin", lines, pace_s=0.1)
        run_power.PLACE = Place(folder / "root", str(program.path), time.monotonic)
        warm_up = take_turn(pipeline, options.camera, 100, None, folder / "log.jsonl")
        frames = max(100, round(options.turn_s / warm_up.frame_s))
        for source in ("ina", "tegrastats"):
            turns = []
            for place in range(options.rounds):
                order = (None, source) if place % 2 else (source, None)
                pair = {one: take_turn(pipeline, options.camera, frames, one, folder / "log.jsonl") for one in order}
                turns.append((pair[None], pair[source]))
            found[source] = compare(turns)
            print(options.name, source, json.dumps(found[source]), file=sys.stderr)
    report = json.loads(options.out.read_text("utf-8")) if options.out.is_file() else {}
    settings = {"turn_s": options.turn_s, "rounds": options.rounds, "engine": options.engine[0].name}
    report[options.name] = {"machine": describe_machine(), **settings, **found}
    options.out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
