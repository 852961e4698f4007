"""Memory, threads and open files of sacvit-run while its camera is lost again and again.

python benchmarks/source_soak.py --engine build/ee.onnx build/sac.onnx --cycles 200 --protocol rtsp

A server on this machine stalls for longer than the stall limit in one cycle, and dies and returns in the next. A cycle ends
with new frames. The exit code is 1 when the second half of the cycles holds more than the first.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "fixtures"))
from mjpeg_server import MjpegServer
from rtsp_server import RtspServer

STALL_S = 0.5  # --stall-timeout-s
OUTAGE_S = 1.0  # of a cycle
FLOW_S = 1.0
BACK_S = 30.0  # a camera that is not back by then never is
MOST_GROWTH_MIB = 8.0  # of the median, first half to second: allocators keep what they may need again


@dataclass(frozen=True)
class Held:
    """What a process holds."""

    memory_mib: float
    threads: int
    files: int


def held_by(pid: int) -> Held:
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    files = list(Path(f"/proc/{pid}/fd").iterdir())
    # Its own memory: pages of its libraries come and go with what else the machine does.
    return Held(int(lines["RssAnon"].split()[0]) / 1024, int(lines["Threads"]), len(files))


class Answers:
    """The lines of sacvit-run --json, read in a thread: how many came, and the ages of their frames."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.ages_ms: list[float] = []
        self._came, self._process = threading.Condition(), process
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._came:
                self.ages_ms.append(json.loads(line)["age_ms"])
                self._came.notify_all()

    def wait_for_more(self) -> float:
        """Seconds until five further answers have come."""
        began, before = time.monotonic(), len(self.ages_ms)
        with self._came:
            if not self._came.wait_for(lambda: len(self.ages_ms) >= before + 5, BACK_S):
                raise SystemExit(f"no frame for {BACK_S:g} s after the camera was back")
        return time.monotonic() - began


def soak(
    camera: MjpegServer | RtspServer, process: subprocess.Popen[str], cycles: int
) -> tuple[list[Held], list[float]]:
    """What the process held after each cycle, and how long each one took to give frames again."""
    answers, samples, back_s = Answers(process), [], []
    answers.wait_for_more()
    for cycle in range(cycles):
        if cycle % 2:
            camera.die()
            time.sleep(OUTAGE_S)
            camera.start()
        else:
            camera.flowing.clear()
            time.sleep(OUTAGE_S)
            camera.flowing.set()
        back_s.append(answers.wait_for_more())
        time.sleep(FLOW_S)
        samples.append(held_by(process.pid))
        if cycle % 20 == 19 or cycle == 0:
            now = samples[-1]
            print(f"{cycle + 1:5d} {now.memory_mib:8.1f} MiB {now.threads:4d} threads {now.files:4d} files", flush=True)
    return samples, back_s


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", nargs=2, required=True, metavar=("EE", "SAC"))
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--protocol", choices=("http", "rtsp"), default="http")
    options = parser.parse_args()
    camera = MjpegServer(0.04, size=(640, 360)) if options.protocol == "http" else RtspServer(0.04)
    code = "import sys; from sacvit.commands.run import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "--engine", *options.engine, "--camera", camera.url, "--json"]
    command += ["--stall-timeout-s", str(STALL_S)]
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            samples, back_s = soak(camera, process, options.cycles)
        finally:
            process.terminate()
            camera.die()
    halves = samples[: len(samples) // 2], samples[len(samples) // 2 :]
    memory, threads, files = (
        [statistics.median(getattr(sample, name) for sample in half) for half in halves]
        for name in ("memory_mib", "threads", "files")
    )
    print(f"{options.cycles} cycles of {options.protocol} in {time.monotonic() - began:.0f} s")
    print(f"frames again after {statistics.median(back_s):.2f} s (median), {max(back_s):.2f} s (longest)")
    print(
        f"medians of the first and second half: {memory[0]:.1f} and {memory[1]:.1f} MiB, {threads} threads, {files} files"
    )
    return int(memory[1] - memory[0] > MOST_GROWTH_MIB or threads[1] > threads[0] or files[1] > files[0])


if __name__ == "__main__":
    sys.exit(main())
