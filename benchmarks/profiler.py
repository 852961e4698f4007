"""What sacvit-profile itself costs: timing every stage, sampling power and watching the load, over a bare loop.

    sacvit-export --ckpt examples/digits/model.pth --out build
    python benchmarks/profiler.py --engine build/ee.onnx build/sac.onnx

Bare and recorded passes alternate, one by one. What sampling takes is its thread's processor time: all of that is lost to the
engines at worst. The source is a folder of files as sysfs shows an AGX Orin's two INA3221, read as on a board, where a
reading is slower by its I2C transfers, in which the processor sleeps. Writes docs/measured/profiler.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from sacvit.machine.activity import read_running
from sacvit.machine.processor import describe_machine
from sacvit.profiles.power.ina import InaPower
from sacvit.profiles.power.sampler import Sampler
from sacvit.profiles.power.source import PERIOD_S, Reading
from sacvit.profiles.timing.contenders import Chain, Record
from sacvit.profiles.timing.inputs import load_images
from sacvit.profiles.timing.load_watch import LoadWatch
from sacvit.runtime.chain.pipeline import Pipeline

RAILS = ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"), ("NC", "VDDQ_VDD2_1V8AO", "NC")
OUT = Path(__file__).parent.parent / "docs" / "measured" / "profiler.json"


def write_sensors(root: Path) -> None:
    """Two INA3221 as Linux shows them on an AGX Orin."""
    for chip, rails in enumerate(RAILS):
        folder = root / f"sys/bus/i2c/drivers/ina3221/1-004{chip}/hwmon/hwmon{chip + 2}"
        folder.mkdir(parents=True)
        for number, rail in enumerate(rails, start=1):
            for name, value in (
                (f"in{number}_label", rail), (f"in{number}_input", 19000), (f"curr{number}_input", 200),
                (f"shunt{number}_resistor", 2000), (f"in{number}_enable", 1),
            ):  # fmt: skip
                (folder / name).write_text(f"{value}\n")
        (folder / "update_interval").write_text("430\n")
        (folder / "samples").write_text("512\n")


class TimedSource(InaPower):
    """The sensors, and the processor time that reading them took."""

    cpu_s = 0.0

    def read(self) -> list[Reading]:
        began = time.thread_time()
        readings = super().read()
        self.cpu_s += time.thread_time() - began
        return readings


class TimedLoad:
    """Reads the run queue of this machine, and the processor time that it took."""

    cpu_s = 0.0

    def __call__(self) -> int | None:
        began = time.thread_time()
        running = read_running()
        self.cpu_s += time.thread_time() - began
        return running


def trimmed_mean(values: list[float]) -> float:
    """Without the slowest tenth: a shared machine stops for milliseconds, in whatever pass comes."""
    return statistics.fmean(sorted(values)[: -(len(values) // 10) or None])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", type=Path, nargs=2, required=True, metavar=("EE", "SAC"))
    parser.add_argument("--window-s", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    pipeline = Pipeline.load(*options.engine)
    images = load_images(None, options.engine[0].parent, pipeline.preprocessing)
    chain = Chain("chain", pipeline, pipeline.gate, images, 1)

    number = 0

    def bare_pass() -> float:
        nonlocal number
        began = time.perf_counter()
        images.prepare(number, pipeline.image_slots(1)[0])
        pipeline.run(1)
        number += 1
        return time.perf_counter() - began

    def recorded_pass() -> float:
        began = time.perf_counter()
        chain.run_pass(record)
        return time.perf_counter() - began

    with tempfile.TemporaryDirectory() as folder:
        write_sensors(Path(folder))
        source = TimedSource(Path(folder))
        ratios, spent, watched, lasted, images_done = [], 0.0, 0.0, 0.0, 0
        read_load = TimedLoad()
        with Sampler(source), LoadWatch(lambda: None, read_load):
            for turn in range(-1, options.rounds):
                record, bare, recorded, source.cpu_s, read_load.cpu_s = Record(), [], [], 0.0, 0.0
                began = time.perf_counter()
                while time.perf_counter() - began < options.window_s:
                    both = (bare_pass, bare), (recorded_pass, recorded)
                    for run, times in both if len(bare) % 2 else both[::-1]:
                        times.append(run())
                if turn < 0:
                    continue
                ratios.append(trimmed_mean(recorded) / trimmed_mean(bare) - 1)
                spent, watched = spent + source.cpu_s, watched + read_load.cpu_s
                lasted += time.perf_counter() - began
                images_done += 2 * len(bare)
    median = statistics.median(ratios)
    ratios.sort()
    half = 1.58 * (ratios[3 * len(ratios) // 4] - ratios[len(ratios) // 4]) / len(ratios) ** 0.5  # McGill's notch: 95 %
    sampling, watching = spent / lasted, watched / lasted
    report = {
        "machine": describe_machine(),
        "engine": options.engine[0].name,
        "rounds": options.rounds,
        "window_s": options.window_s,
        "sampling_hz": round(1 / PERIOD_S, 3),
        "images_per_s": round(images_done / lasted, 1),
        "recording": round(median, 5),
        "recording_plus_minus": round(half, 5),
        "sampling": round(sampling, 5),
        "watching": round(watching, 5),
        "cost": round(median + sampling + watching, 5),
    }
    options.out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print(
        f"at {report['images_per_s']:.0f} images/s: recording every stage {100 * median:.2f} +- {100 * half:.2f} % of a pass,"
        f" sampling power {100 * sampling:.2f} % of a core, watching the load {100 * watching:.2f} %:"
        f" at most {100 * report['cost']:.2f} % of throughput"
    )


if __name__ == "__main__":
    main()
