"""What browsers that look at --web cost the chain, and whether memory stays flat while they come and go.

python benchmarks/web_viewers.py --engine build/ee.onnx build/sac.onnx --camera clip.mp4 --rounds 16 --window-s 1.2
python benchmarks/web_viewers.py --engine build/ee.onnx build/sac.onnx --camera rtsp://...
nice python benchmarks/web_viewers.py --engine build/ee.onnx build/sac.onnx --camera rtsp://... --soak-s 3600

A viewer asks for a picture as soon as it has the last one, as the page does, and throws it away. Over a file, frames_of_none
is the throughput that is left; of a camera, whose rate is fixed, more_cores is the processor time that viewers cost sacvit-run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

import aiohttp

from sacvit.machine.jetson import process_memory_mib

SETTLED_S = 0.4
RUN = "import sys; from sacvit.commands.run import main; sys.exit(main(sys.argv[1:]))"
GROWTH_MIB = 8.0  # between the first and the last third of a soak


class Running:
    """A sacvit-run that loops over its source. Its lines are counted."""

    def __init__(self, options: argparse.Namespace) -> None:
        words = ["--engine", *options.engine, "--camera", options.camera, "--loop", "--json", "--web", "0"]
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None and self.process.stderr is not None
        self.url = next(found[1] for line in self.process.stderr if (found := re.search(r"(http://\S+)", line)))
        self.frames = 0
        self._reader = threading.Thread(target=self._count, daemon=True)
        self._reader.start()
        while not self.frames:
            time.sleep(0.05)

    def _count(self) -> None:
        assert self.process.stdout is not None
        for _ in self.process.stdout:
            self.frames += 1

    def state(self) -> dict[str, Any]:
        with urlopen(f"{self.url}api/state", timeout=20) as answer:  # noqa: S310  # our own address
            return dict(json.load(answer))

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


class Watching:
    """Viewers in a thread with a loop of its own."""

    def __init__(self, url: str) -> None:
        self._url, self.pictures = url, 0
        self._loop = asyncio.new_event_loop()
        self._tasks: list[asyncio.Task[None]] = []
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def set(self, count: int) -> None:
        asyncio.run_coroutine_threadsafe(self._set(count), self._loop).result(30)

    async def _set(self, count: int) -> None:
        while len(self._tasks) > count:
            self._tasks.pop().cancel()
        while len(self._tasks) < count:
            self._tasks.append(self._loop.create_task(self._look()))

    async def _look(self) -> None:
        async with aiohttp.ClientSession() as client, client.ws_connect(f"{self._url}ws", max_msg_size=0) as socket:
            await socket.send_str('{"next": 0}')
            async for message in socket:
                if message.type is aiohttp.WSMsgType.BINARY:
                    self.pictures += 1
                    await socket.send_str('{"next": 0}')


def cores_of(pid: int) -> float:
    """Processor seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Sample(NamedTuple):
    """What a window showed, per second. cores: that sacvit-run used."""

    frames: float
    pictures: float
    cores: float


def sample(run: Running, watching: Watching, count: int, window_s: float) -> Sample:
    watching.set(count)
    time.sleep(SETTLED_S)
    before = time.monotonic(), run.frames, watching.pictures, cores_of(run.process.pid)
    time.sleep(window_s)
    after = time.monotonic(), run.frames, watching.pictures, cores_of(run.process.pid)
    watching.set(0)
    duration_s = after[0] - before[0]
    return Sample(*((last - first) / duration_s for first, last in zip(before[1:], after[1:], strict=True)))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Each window with viewers between two without."""
    run = Running(options)
    watching = Watching(run.url)
    time.sleep(2.0)
    counts = [int(part) for part in options.viewers.split(",")]
    found: dict[str, Any] = {}
    ratios: dict[int, list[float]] = {count: [] for count in counts}
    extra: dict[int, list[float]] = {count: [] for count in counts}
    pictures: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(options.rounds):
        for count in counts:
            one, between, other = (sample(run, watching, this, options.window_s) for this in (0, count, 0))
            ratios[count].append(2 * between.frames / (one.frames + other.frames))
            extra[count].append(between.cores - (one.cores + other.cores) / 2)
            pictures[count].append(between.pictures)
    run.close()
    for count in counts:
        found[str(count)] = {
            "frames_of_none": round(statistics.median(ratios[count]), 4),
            "quartiles": [round(value, 4) for value in statistics.quantiles(ratios[count], n=4)[::2]],
            "more_cores": round(statistics.median(extra[count]), 4),
            "pictures_per_s": round(statistics.median(pictures[count]), 1),
            "windows": options.rounds,
        }
    return found


def soak(options: argparse.Namespace) -> dict[str, Any]:
    """Viewers come and go; memory of the process once per 10 s."""
    chance = random.Random(0)
    web = Running(options)
    watching = Watching(web.url)
    began, samples, visits = time.monotonic(), [], 0
    while time.monotonic() - began < options.soak_s:
        count = chance.randrange(6)
        visits += count
        watching.set(count)
        time.sleep(chance.uniform(2, 8))
        watching.set(0)
        memory = process_memory_mib(web.process.pid)
        if memory is None:
            raise SystemExit("sacvit-run has ended")
        samples.append((time.monotonic() - began, memory[0]))
    state = web.state()
    web.close()
    third = len(samples) // 3
    first, last = (statistics.median(value for _, value in part) for part in (samples[:third], samples[-third:]))
    return {
        "duration_s": round(samples[-1][0]),
        "visits": visits,
        "pictures": watching.pictures,
        "first_third_mib": round(first, 1),
        "last_third_mib": round(last, 1),
        "most_mib": round(max(value for _, value in samples), 1),
        "frames": state["frames"],
        "viewers_at_the_end": state["viewers"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", nargs="+", required=True)
    parser.add_argument("--camera", required=True)
    parser.add_argument("--viewers", default="1,20")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--window-s", type=float, default=4.0)
    parser.add_argument("--soak-s", type=float)
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    options = parser.parse_args()
    found = soak(options) if options.soak_s else measure(options)
    print(json.dumps(found, indent=1))
    if options.out is not None:
        options.out.write_text(json.dumps(found, indent=1) + "\n")
    if options.soak_s:
        return int(found["last_third_mib"] - found["first_third_mib"] > GROWTH_MIB)
    return 0


if __name__ == "__main__":
    sys.exit(main())
