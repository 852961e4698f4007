"""What a Triton with our repository gives: throughput and p99 against instances and load, and how it behaves beyond capacity.

    python benchmarks/serving.py --engine build/ee.onnx build/sac.onnx --images data/tune/val --json serving.json

Starts real servers from .venv-triton on this machine; server and load generator share its cores. Closed loop: N clients that
wait for their answers. Open loop: requests leave at random moments of a given mean rate, whatever the server does, and
latency counts from the moment a request was due. Every answer is compared with the local pipeline's.
"""

from __future__ import annotations

import argparse
import json
import queue
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tritonclient import grpc

from sacvit.machine.processor import describe_machine
from sacvit.runtime.chain.gate import Gate
from sacvit.runtime.chain.pipeline import Pipeline
from sacvit.runtime.chain.result import Result
from sacvit.runtime.percentiles import percentile
from sacvit.serving.description import STAGE_NUMBERS
from sacvit.serving.local import LocalServer
from sacvit.serving.options import ServeOptions
from sacvit.serving.repository import write_repository

ROOT = Path(__file__).resolve().parent.parent
BAD = ({"eta": 7.0}, "eta must be a number in [0, 1]"), ({}, "picture 0 is no picture")


@dataclass
class Tally:
    """What became of requests. latencies_ms: of those that were answered."""

    latencies_ms: list[float] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)

    def told(self, duration_s: float) -> dict[str, Any]:
        found: dict[str, Any] = dict(self.outcomes) | {"duration_s": round(duration_s, 1)}
        if self.latencies_ms:
            found["answered_per_s"] = round(len(self.latencies_ms) / duration_s, 1)
            found |= {f"p{p}_ms": round(percentile(self.latencies_ms, p), 1) for p in (50, 90, 99)}
            found["max_ms"] = round(max(self.latencies_ms), 1)
        if self.refusals:
            found["refusals"] = dict(self.refusals)
        return found


def request_of(file: bytes) -> list[Any]:
    given = grpc.InferInput("image", [1, 1], "BYTES")
    given.set_data_from_numpy(np.array([[file]], object))
    return [given]


class Load:
    """Requests over gRPC, one image each, and the check of every answer."""

    def __init__(
        self, images: np.ndarray, expected: list[Result], bad_share: float = 0.0, eta: float | None = None
    ) -> None:
        self.images, self.expected, self.bad_share = images, expected, bad_share
        self.parameters = None if eta is None else {"eta": eta}
        self.rng = np.random.default_rng(0)
        self.inputs = [request_of(b"P6\n%d %d\n255\n" % image.shape[1::-1] + image.tobytes()) for image in images]
        self.junk = request_of(b"no picture")

    def draw(self) -> tuple[list[Any], dict[str, Any] | None, int | None, str | None]:
        """Inputs, parameters, the number of the image, and of a bad request what it has to be told."""
        number = int(self.rng.integers(len(self.images)))
        if self.rng.random() >= self.bad_share:
            return self.inputs[number], self.parameters, number, None
        parameters, message = BAD[int(self.rng.integers(len(BAD)))]
        return (self.inputs[number], parameters, None, message) if parameters else (self.junk, None, None, message)

    def judge(
        self, tally: Tally, answer: Any, fault: Any, number: int | None, message: str | None, since: float
    ) -> None:
        latency_ms = 1e3 * float(time.perf_counter() - since)
        if fault is not None:
            text = str(fault.message())
            if message is not None and message in text:
                tally.outcomes["bad_told"] += 1
            elif message is not None and "busy: " not in text:
                tally.outcomes["bad_told_wrong"] += 1
                tally.refusals[text[:100]] += 1
            else:
                tally.outcomes["refused"] += 1
                tally.refusals[text.rsplit("]", maxsplit=1)[-1].strip()[:100]] += 1
            return
        if message is not None or number is None:
            tally.outcomes["bad_answered"] += 1
            return
        wanted = self.expected[number]
        same = int(answer.as_numpy("index")[0, 0]) == wanted.index
        same &= int(answer.as_numpy("stage")[0, 0]) == STAGE_NUMBERS[wanted.stage]
        same &= abs(float(answer.as_numpy("probability")[0, 0]) - wanted.probability) < 1e-4
        tally.outcomes["right" if same else "wrong"] += 1
        tally.latencies_ms.append(latency_ms)

    def closed(self, server: LocalServer, clients: int, duration_s: float) -> dict[str, Any]:
        tallies = [Tally() for _ in range(clients)]
        end = time.perf_counter() + duration_s

        def one(tally: Tally) -> None:
            with grpc.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}") as client:
                while time.perf_counter() < end:
                    inputs, parameters, number, message = self.draw()
                    since, answer, fault = time.perf_counter(), None, None
                    try:
                        answer = client.infer("sacvit", inputs, parameters=parameters)
                    except grpc.InferenceServerException as reason:
                        fault = reason
                    self.judge(tally, answer, fault, number, message, since)

        began = time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(one, tallies))
        return merged(tallies).told(time.perf_counter() - began)

    def open(self, server: LocalServer, rate_per_s: float, duration_s: float) -> dict[str, Any]:
        tally, answers = Tally(), queue.SimpleQueue[Any]()
        gaps = self.rng.exponential(1 / rate_per_s, int(rate_per_s * duration_s))
        sent = len(gaps)
        memory: list[int] = []

        def collect() -> None:
            for _ in range(sent):
                self.judge(tally, *answers.get(timeout=60))

        collector = threading.Thread(target=collect)
        collector.start()
        began, due = time.perf_counter(), time.perf_counter()
        with grpc.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}") as client:
            for gap in gaps:
                due += gap
                pause = due - time.perf_counter()
                if pause > 0:
                    time.sleep(pause)
                inputs, parameters, number, message = self.draw()

                def done(
                    result: Any, error: Any, n: int | None = number, m: str | None = message, since: float = due
                ) -> None:
                    answers.put((result, error, n, m, since))

                client.async_infer("sacvit", inputs, done, parameters=parameters)
                if len(memory) < (time.perf_counter() - began):
                    memory.append(server.memory_mib()[0])
            late_s = float(time.perf_counter() - due)
            collector.join()
        told = tally.told(time.perf_counter() - began) | {"sent": sent, "rate_per_s": round(rate_per_s, 1)}
        told["lost"] = sent - sum(tally.outcomes.values())
        told["generator_late_ms"] = round(1e3 * late_s, 1)
        if memory:
            fifth = len(memory) // 5
            told["rss_mib"] = {
                "first": memory[0],
                "after_a_fifth": memory[fifth],
                "last": memory[-1],
                "most": max(memory),
            }
        return told


def merged(tallies: list[Tally]) -> Tally:
    whole = Tally()
    for tally in tallies:
        whole.latencies_ms += tally.latencies_ms
        whole.outcomes += tally.outcomes
        whole.refusals += tally.refusals
    return whole


@contextmanager
def served(pipeline: Pipeline, environment: Path, serving: ServeOptions) -> Iterator[LocalServer]:
    with tempfile.TemporaryDirectory() as name:
        write_repository(pipeline, Path(name) / "models", serving)
        with LocalServer(Path(name) / "models", environment) as server:
            yield server


def highest_rate(load: Load, server: LocalServer, bound_ms: float, start: float, duration_s: float) -> dict[str, Any]:
    """The highest open-loop rate, in steps of 15 %, at which p99 stays below the bound and nobody is refused."""
    rate, best = start, {"rate_per_s": 0.0}
    while True:
        found = load.open(server, rate, duration_s)
        print(f"  open loop, {rate:6.0f}/s: p99 {found.get('p99_ms')} ms, refused {found.get('refused', 0)}")
        if found.get("refused") or found.get("p99_ms", 1e9) > bound_ms:
            return best
        best, rate = found, rate * 1.15


def read_images(folder: Path, pipeline: Pipeline, count: int) -> np.ndarray:
    if (folder / "images.npy").is_file():
        return np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)[:count]
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".png", ".jpg"))[:count]
    return np.stack([pipeline.preprocessing.apply(cv2.imread(str(path))) for path in files])


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", type=Path, nargs=2, required=True)
    parser.add_argument("--images", type=Path, required=True, help="a folder of pictures, or with images.npy")
    parser.add_argument("--environment", type=Path, default=ROOT / ".venv-triton")
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 4, 16, 32])
    parser.add_argument("--instances", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--window-s", type=float, default=6.0, help="of a closed loop and of an open loop's step")
    parser.add_argument("--warm-s", type=float, default=1.0, help="of a load before the first measurement of a server")
    parser.add_argument(
        "--max-batch", type=int, nargs="*", default=[1, 16, 1, 16], help="of the servers to be compared"
    )
    parser.add_argument("--overload-s", type=float, default=60.0)
    parser.add_argument("--bound-ms", type=float, default=100.0, help="p99 at which batching is compared")
    parser.add_argument("--max-queue", type=int, default=64)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    pipeline = Pipeline.load(*options.engine, provider="cpu")
    images = read_images(options.images, pipeline, 1000)
    expected, stored = pipeline(list(images)), pipeline.gate
    load = Load(images, expected)
    found: dict[str, Any] = {
        "machine": describe_machine(),
        "model": str(options.engine[0].parent),
        "images": len(images),
        "exit_rate": round(float(np.mean([result.exits_early for result in expected])), 3),
        "threshold": pipeline.threshold,
        "closed": [],
        "exit_rates": [],
        "batching": {},
    }

    serving = partial(ServeOptions, python_only=True, max_queue=options.max_queue)
    for instances in options.instances:
        with served(pipeline, options.environment, serving(instances=instances)) as server:
            load.closed(server, 4, options.warm_s)  # warm
            for clients in options.clients:
                row = {"instances": instances, "clients": clients} | load.closed(server, clients, options.window_s)
                found["closed"].append(row)
                print(row, flush=True)
    with served(pipeline, options.environment, serving()) as server:
        load.closed(server, 4, options.warm_s)
        for eta in (0.0, None, 1.0, 0.0, None, 1.0):
            pipeline.gate = Gate(stored.threshold if eta is None else eta)
            some = Load(images, pipeline(list(images)), eta=eta)
            row = {"eta": pipeline.threshold} | some.closed(server, options.clients[-1], options.window_s)
            row["exit_rate"] = round(float(np.mean([result.exits_early for result in some.expected])), 3)
            found["exit_rates"].append(row)
            print(row, flush=True)
    pipeline.gate = stored
    capacity = max(row["answered_per_s"] for row in found["closed"] if row["instances"] == options.instances[0])
    for max_batch in options.max_batch:
        with served(pipeline, options.environment, serving(max_batch=max_batch)) as server:
            load.closed(server, 4, options.warm_s)
            print(f"max batch {max_batch}")
            best = highest_rate(load, server, options.bound_ms, capacity / 4, options.window_s)
            found["batching"].setdefault(str(max_batch), []).append(best)
    with served(pipeline, options.environment, serving()) as server:
        load.closed(server, 4, options.warm_s)
        capacity = load.closed(server, 32, options.window_s)["answered_per_s"]
        found["overload"] = {"capacity_per_s": capacity}
        mixed = Load(images, expected, bad_share=0.1)
        found["overload"] |= mixed.open(server, 2 * capacity, options.overload_s)
        print(found["overload"])
        found["after"] = load.closed(server, 4, options.window_s)
        print(found["after"])
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
