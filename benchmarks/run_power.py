"""What --power and --power-log cost a run of sacvit-run, by turns without and with them.

    sacvit-export --ckpt examples/digits/model.pth --out build
    python benchmarks/run_power.py --engine build/ee.onnx build/sac.onnx --camera clip.mp4

There is no sensor here. `ina` is a folder of files as sysfs shows an AGX Orin's two INA3221; on a board a reading takes longer
by its I2C transfers, in which the processor sleeps. `tegrastats` is a program that prints real lines of an AGX Orin ten times
per second; what the real program takes itself is not known. In one run with the lines of --json, power is read and joined in
every second slice of time. Windows end with each slice; the time to measure one counts once per window of a real run.

`cost` is the processor time of the two threads and of the two sinks, over the time of their slices: all of that is lost to the
engines at worst. `slower` is what the frames of neighbouring slices show, with McGill's notch: on a busy machine it is far
wider than the cost. Writes docs/measured/run_power.json.
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
from sacvit.runtime.sinks.lines import JsonLines
from sacvit.runtime.sinks.sink import Answer, Quit
from sacvit.runtime.sources.frame import OpenOptions
from sacvit.runtime.sources.opening import open_sources

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "fixtures"))
from tegrastats_program import Tegrastats

REAL_LINES = Path(__file__).parent.parent / "tests" / "profiles" / "tegrastats" / "agx-orin-jp6-root.txt"
OUT = Path(__file__).parent.parent / "docs" / "measured" / "run_power.json"
ENTRY = {  # of a line of --json with power: four rails, as an AGX Orin has
    "ended_s": 60316.953, "window_s": 10.006, "frames": 706, "exits": 440,
    "w": {"VDD_GPU_SOC": 4.8, "VDD_CPU_CV": 0.52, "VIN_SYS_5V0": 1.48, "total": 6.8},
    "plus_minus_w": {"VDD_GPU_SOC": 0.2, "VDD_CPU_CV": 0.2, "VIN_SYS_5V0": 0.05, "total": 0.45},
    "mj_per_frame": {"value": 68.0288, "plus_minus": 0.283},
}  # fmt: skip


@dataclass
class Slice:
    """A slice of a run: the seconds of its frames, and the processor time of each call of the two sinks."""

    frames_s: list[float] = field(default_factory=list)
    join_cpu_s: list[float] = field(default_factory=list)
    lines_cpu_s: list[float] = field(default_factory=list)


class Turns:
    """The sinks of a run in the place of their own order: power in every second slice, the lines always."""

    def __init__(self, power: RunPower, lines: JsonLines, slice_s: float, duration_s: float) -> None:
        self._power, self._lines, self._slice_s, self._left = power, lines, slice_s, round(duration_s / slice_s)
        self.slices: list[Slice] = []
        self._ends_s, self._last_s = 0.0, 0.0

    @property
    def is_on(self) -> bool:
        return len(self.slices) % 2 == 0

    def write(self, answer: Answer) -> None:
        now_s = time.perf_counter()
        if now_s >= self._ends_s:
            if not self._left:
                raise Quit
            self._left -= 1
            self._ends_s, self._last_s = now_s + self._slice_s, 0.0
            self.slices.append(Slice())
        here = self.slices[-1]
        if self._last_s:
            here.frames_s.append(now_s - self._last_s)
        self._last_s = now_s
        began = time.thread_time()
        if self.is_on:
            self._power.write(answer)
        joined = time.thread_time()
        self._lines.write(answer)
        here.lines_cpu_s.append(time.thread_time() - joined)
        here.join_cpu_s.append(joined - began)

    def line(self) -> dict[str, Any] | None:
        return ENTRY if self.is_on else None

    def close(self) -> None:
        pass


class Parts:
    """The work of the sampler's and of the log's thread, left out while `is_on` is false, and the measuring of windows.

    cpu_s: their processor time; windows: the number of windows.
    """

    def __init__(self, power: RunPower, is_on: Callable[[], bool]) -> None:
        self.cpu_s = {"sampler": 0.0, "log": 0.0, "windows": 0.0}
        self.windows, self._is_on = 0, is_on
        sampler, windows = power._sampler, power._windows
        assert sampler is not None and windows is not None
        self._account = windows._account
        sampler.take = self._gated("sampler", sampler.take)  # type: ignore[method-assign]
        power._look = self._gated("log", power._look)  # type: ignore[method-assign]
        windows._account = self._counted  # type: ignore[method-assign]

    def _gated(self, name: str, work: Callable[[], None]) -> Callable[[], None]:
        def gated() -> None:
            began = time.thread_time()
            if self._is_on():
                work()
            self.cpu_s[name] += time.thread_time() - began

        return gated

    def _counted(self, *arguments: Any, **options: Any) -> Any:
        began = time.thread_time()
        found = self._account(*arguments, **options)
        self.cpu_s["windows"] += time.thread_time() - began
        self.windows += 1
        return found


def trimmed_mean(values: list[float]) -> float:
    """Without the slowest tenth: a shared machine stops for milliseconds, in whatever frame comes."""
    return statistics.fmean(sorted(values)[: -(len(values) // 10) or None])


def more_cpu_s(slices: list[list[float]]) -> float:
    """What the calls in the slices with power take more than those in the others, over all calls with power. Not below 0."""
    on, off = ([cpu for one in slices[place::2] for cpu in one] for place in (0, 1))
    return max(statistics.median(on) - statistics.median(off), 0.0) * len(on)


def measure(
    pipeline: Pipeline, camera: str, source: str, log: Path, slice_s: float, duration_s: float
) -> dict[str, Any]:
    turns: Turns | None = None
    power = RunPower(PowerOptions(source, log))
    power.begin(pipeline)
    turns = Turns(power, JsonLines(lambda: turns.line() if turns else None), slice_s, duration_s)
    parts = Parts(power, lambda: turns.is_on)
    assert power._windows is not None
    real_s, power._windows.needed_s = power._windows.needed_s, slice_s
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        run_chain(pipeline, open_sources([camera], OpenOptions(loop=True)), [turns])
    power.close()
    pairs = list(
        zip(turns.slices[2::2], turns.slices[1::2], strict=False)
    )  # on, and off before it; the first one warms up
    ratios = sorted(trimmed_mean(on.frames_s) / trimmed_mean(off.frames_s) - 1 for on, off in pairs)
    quarter = len(ratios) // 4
    half = 1.58 * (ratios[-1 - quarter] - ratios[quarter]) / len(ratios) ** 0.5  # McGill's notch: 95 %
    lasted = sum(sum(one.frames_s) for one in turns.slices[::2])
    shares = {
        "sampler": parts.cpu_s["sampler"] / lasted,
        "log": (parts.cpu_s["log"] - parts.cpu_s["windows"]) / lasted,
        "join": more_cpu_s([one.join_cpu_s for one in turns.slices]) / lasted,
        "windows": parts.cpu_s["windows"] / max(parts.windows, 1) / real_s,
        "lines": more_cpu_s([one.lines_cpu_s for one in turns.slices]) / lasted,
    }
    return {
        "frames_per_s": round(statistics.median(1 / trimmed_mean(off.frames_s) for _, off in pairs), 1),
        "pairs": len(pairs),
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
    parser.add_argument("--slice-s", type=float, default=1.0)
    parser.add_argument("--duration-s", type=float, default=28.0, help="of each of the two sources")
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
        for source in ("ina", "tegrastats"):
            log = folder / f"{source}.jsonl"
            found[source] = measure(pipeline, options.camera, source, log, options.slice_s, options.duration_s)
            print(options.name, source, json.dumps(found[source]), file=sys.stderr)
    report = json.loads(options.out.read_text("utf-8")) if options.out.is_file() else {}
    settings = {"slice_s": options.slice_s, "duration_s": options.duration_s, "engine": options.engine[0].name}
    report[options.name] = {"machine": describe_machine(), **settings, **found}
    options.out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
