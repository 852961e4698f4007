"""What browsers that look at --web cost the chain, and whether memory stays flat while they come and go.

python benchmarks/web_viewers.py --engine build/ee.onnx build/sac.onnx --camera clip.mp4 --viewers 0,1,20 --rounds 9
nice python benchmarks/web_viewers.py --engine build/ee.onnx build/sac.onnx --camera rtsp://... --soak-s 3600

A viewer asks for a picture as soon as it has the last one, as the page does, and throws it away. Viewers run here, so their own
processor time is part of what is lost; it is reported. Rounds alternate, another count first in each; without --web is one
of them, "off". Exit code 1 when one viewer costs more than 2 % of the frames, or memory grows.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import aiohttp

from sacvit.machine.jetson import process_memory_mib

MOST_LOST = 0.02
SETTLED_S = 1.0
RUN = "import sys; from sacvit.commands.run import main; sys.exit(main(sys.argv[1:]))"
GROWTH_MIB = 8.0  # between the first and the last third of a soak


class Running:
    """A sacvit-run that loops over its source. Its lines are read, and counted where there is no web view."""

    def __init__(self, options: argparse.Namespace, with_web: bool) -> None:
        words = [*("--engine", *options.engine, "--camera", options.camera, "--loop", "--json")]
        words += ["--web", "0"] if with_web else []
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None and self.process.stderr is not None
        self.url = ""
        if with_web:
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


@contextmanager
def stopped(process: subprocess.Popen[str]) -> Iterator[None]:
    """Holds a process, so that only one of two runs at a time."""
    process.send_signal(19)  # SIGSTOP
    try:
        yield
    finally:
        process.send_signal(18)  # SIGCONT


def measure(options: argparse.Namespace) -> dict[str, Any]:
    counts = [int(part) for part in options.viewers.split(",")]
    plain, web = Running(options, False), Running(options, True)
    watching = Watching(web.url)
    cases: list[int | None] = [None, *counts]
    rates: dict[int | None, list[float]] = {case: [] for case in cases}
    pictures: dict[int | None, list[float]] = {case: [] for case in cases}
    own_s: dict[int | None, list[float]] = {case: [] for case in cases}
    for number in range(options.rounds):
        first = number % len(cases)
        for case in cases[first:] + cases[:first]:
            run, other = (plain, web) if case is None else (web, plain)
            with stopped(other.process):
                if case is not None:
                    watching.set(case)
                time.sleep(SETTLED_S)
                began, frames, seen, own = time.monotonic(), run.frames, watching.pictures, time.process_time()
                time.sleep(options.window_s)
                duration_s = time.monotonic() - began
                rates[case].append((run.frames - frames) / duration_s)
                pictures[case].append((watching.pictures - seen) / duration_s)
                own_s[case].append((time.process_time() - own) / duration_s)
                if case is not None:
                    watching.set(0)
    plain.close()
    web.close()
    found = {}
    for case in cases:
        ratios = [value / base for value, base in zip(rates[case], rates[None], strict=True)]
        found["off" if case is None else str(case)] = {
            "fps": round(statistics.median(rates[case]), 1),
            "of_off": round(statistics.median(ratios), 4),
            "quartiles": [round(value, 4) for value in statistics.quantiles(ratios, n=4)[::2]],
            "pictures_per_s": round(statistics.median(pictures[case]), 1),
            "viewers_cores": round(statistics.median(own_s[case]), 3),
        }
    return found


def soak(options: argparse.Namespace) -> dict[str, Any]:
    """Viewers come and go; memory of the process once per 10 s."""
    chance = random.Random(0)
    web = Running(options, True)
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
    threads = {"frames": state["frames"], "viewers_at_the_end": state["viewers"]}
    return {
        "duration_s": round(samples[-1][0]),
        "visits": visits,
        "pictures": watching.pictures,
        "first_third_mib": round(first, 1),
        "last_third_mib": round(last, 1),
        "most_mib": round(max(value for _, value in samples), 1),
        **threads,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", nargs="+", required=True)
    parser.add_argument("--camera", required=True)
    parser.add_argument("--viewers", default="0,1,20")
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
    return int("1" in found and 1 - found["1"]["of_off"] > MOST_LOST)


if __name__ == "__main__":
    sys.exit(main())
