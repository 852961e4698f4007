"""Sends thousands of damaged requests to a real Triton with our repository, and checks that good ones are answered right.

    python benchmarks/fuzz_serving.py --requests 20000

Starts a server from .venv-triton on the loopback address. Each client mixes good requests with damaged ones: shapes, types,
sizes, parameters, outputs, pictures and bytes. The run fails when the server or its stub ends, when a good request gets
another answer than the local pipeline's, when a damaged request meets a defect of ours, or when memory grows.

Left out are requests that Triton 2.51 itself cannot bear, see docs/serving.md: a shape of gigabytes with numbers as JSON, and
JSON that is nested 100 000 levels deep, end it. It also fails the requests that it hands over together with one whose last
element is cut: such a good request is counted ("hurt") and sent again, as sacvit-run does.
"""

from __future__ import annotations

import argparse
import json
import random
import struct
import sys
import tempfile
import threading
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sacvit.runtime.chain.pipeline import Pipeline
from sacvit.runtime.chain.result import Result
from sacvit.serving.description import OUTPUTS, STAGE_NUMBERS
from sacvit.serving.local import LocalServer
from sacvit.serving.options import ServeOptions
from sacvit.serving.repository import write_repository

ROOT = Path(__file__).resolve().parent.parent
BUNDLE = ROOT / "tests" / "runtime" / "bundles" / "bundle"
GOOD_SHARE = 0.1
WARM_SHARE = 0.2  # of the requests: memory is compared with what it was after them
GROWTH_MIB = 64  # allocators keep what large pictures took; a leak of 10 kB per request would be 160 MiB
PEAK_MIB = 1024  # above the warm state: two decoders with pictures of 50 million pixels each
HURT = b"incomplete string data"
DEFECT = b"The reason is in the server's log"
Request = tuple[bytes, bytes, dict[str, str]]  # JSON, the bytes behind it, HTTP headers
PNG = b"\x89PNG\r\n\x1a\n"
PNG_ENDS = ((b"IDAT", b"IEND"), (b"IDAT", b"IEND"), (b"IEND",), (b"IDAT", b"fcTL", b"fdAT", b"IEND"), ())
PIXELS = b"P6\n32 32\n255\n" + bytes(3072)
SIDES = (0, 1, 2, 3, 5, 31, 32, 33, 64, 500, 4000, 2**16, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1)


class Damage:
    """Requests that are damaged in one way each."""

    def __init__(self, random_: random.Random, pictures: list[bytes]) -> None:
        self.random, self.pictures = random_, pictures
        self.kinds: list[Callable[[], Request]] = [
            *(self.shape, self.kind, self.size, self.element, self.parameter, self.output),
            *(self.picture, self.picture, self.png, self.several, self.text, self.json_data, self.header),
        ]

    def draw(self) -> tuple[str, Request]:
        make = self.random.choice(self.kinds)
        return make.__name__, make()

    def shape(self) -> Request:
        """Any shape and type, with as many bytes as they claim where those are few."""
        shape = [self.random.choice(SIDES) for _ in range(self.random.choice((0, 1, 2, 2, 2, 3, 4, 5)))]
        claimed = int(np.prod(np.array(shape, object))) if shape else 1
        kind = self.random.choice(("BYTES", "UINT8"))
        one = 4 if kind == "BYTES" else 1  # an empty element
        return request(shape, bytes(one * claimed) if claimed < 1 << 20 else b"", datatype=kind)

    def kind(self) -> Request:
        kind = self.random.choice(("INT8", "FP32", "UINT8", "BOOL", "UINT64", "BF16", "", "bytes", "X" * 1000))
        return request([1, 1], self.random.choice((elements(PIXELS), bytes(4), bytes(1), b"")), datatype=kind)

    def element(self) -> Request:
        """Lengths of elements that are not theirs, and other numbers of elements."""
        content = bytearray(elements(*[PIXELS] * self.random.randint(0, 3)))
        if content and self.random.random() < 0.7:
            wrong = self.random.choice((0, 1, len(PIXELS) - 1, len(PIXELS) + 1, 2**31, 2**32 - 1))
            content[:4] = wrong.to_bytes(4, "little")
        return request([self.random.randint(0, 3), 1], bytes(content))

    def size(self) -> Request:
        """Fewer or more bytes than the header says."""
        content = elements(PIXELS)
        sent, claimed = (self.random.choice((0, 1, len(content) - 1, len(content), 100_000)) for _ in range(2))
        return request([1, 1], content.ljust(100_000, b"\0")[:sent], binary_data_size=claimed)

    def parameter(self) -> Request:
        names = ("eta", "eta", "Eta", "threshold", "", "x" * 5000, "sequence_id", "priority", "timeout", "a\u202eb")
        values: tuple[Any, ...] = (-1, 0, 0.5, 1, 2, 1e308, 2**63, "0.5", True, None, [], {}, "x" * 5000, "\x1b[2J")
        given = {self.random.choice(names): self.random.choice(values) for _ in range(self.random.randint(1, 3))}
        return request([1, 1], elements(PIXELS), parameters=given)

    def output(self) -> Request:
        """Classes of any output, and outputs that do not exist."""
        outputs = [
            {
                "name": self.random.choice((*OUTPUTS, "none", "")),
                "parameters": {
                    "classification": self.random.choice((0, 1, 2, 1000, 2**31, 2**32, -1, "1")),
                    "binary_data": self.random.random() < 0.5,
                },
            }
            for _ in range(self.random.randint(1, 4))
        ]
        return request([1, 1], elements(PIXELS), outputs=outputs)

    def picture(self) -> Request:
        return request([1, 1], elements(self.damaged(self.random.choice(self.pictures))))

    def png(self) -> Request:
        """Chunks with right lengths and checksums, in any order: also those of animations."""
        side = self.random.choice((1, 64, 64, 64, 64, 64, 64, 64, 7000))
        start = struct.pack(">IIBBBBB", side, side, 8, self.random.choice((0, 2, 3, 6)), 0, 0, 0)
        frame = struct.pack(">IIIIIHHBB", 0, *self.random.choices((0, 1, 64, 7000, 2**31 - 1), k=4), 1, 1, 0, 0)
        bodies = {
            b"IHDR": start,
            b"IDAT": zlib.compress(bytes(64 * 193)),
            b"acTL": struct.pack(">II", self.random.choice((0, 1, 3, 2**31)), 0),
            b"fcTL": frame,
            b"fdAT": bytes(4) + zlib.compress(bytes(64 * 193)),
            b"PLTE": bytes(self.random.choice((0, 3, 768, 900))),
            b"tRNS": bytes(self.random.choice((0, 1, 6, 256))),
            b"iCCP": b"a\0\0" + zlib.compress(bytes(1 << 20)),
            b"zTXt": b"a\0\0" + zlib.compress(bytes(1 << 20)),
            b"eXIf": b"II*\0" + self.random.randbytes(30),
            b"IEND": b"",
        }
        kinds = [*self.random.choices(list(bodies), k=self.random.randint(0, 5)), *self.random.choice(PNG_ENDS)]
        file = PNG + chunk(b"IHDR", start) + b"".join(chunk(kind, bodies[kind]) for kind in kinds)
        return request([1, 1], elements(file + self.random.choice((b"", b"", self.random.randbytes(6)))))

    def several(self) -> Request:
        """Sound and damaged files in one request."""
        files = [self.random.choice(self.pictures) for _ in range(self.random.randint(1, 18))]
        files[self.random.randrange(len(files))] = self.damaged(files[0])
        return request([len(files), 1], elements(*files))

    def text(self) -> Request:
        """The JSON with letters changed."""
        header, body, headers = request([1, 1], elements(PIXELS), parameters={"eta": 0.5})
        damaged = self.damaged(header)
        return damaged, body, headers | {"Inference-Header-Content-Length": str(len(damaged))}

    def json_data(self) -> Request:
        """The element as JSON."""
        values = ("P6 1 1 255\nabc", "", "\0", "x" * 10_000, 1, None, [], {}, ["P6 1 1 255\nabc"])
        data: Any = [self.random.choice(values) for _ in range(self.random.choice((0, 1, 1, 1, 2)))]
        data = self.random.choice((data, data, [data], [[[[data]]]], {}, "x"))
        given = {"name": "image", "shape": [1, 1], "datatype": self.random.choice(("BYTES", "UINT8")), "data": data}
        return json.dumps({"inputs": [given] * self.random.choice((1, 1, 2))}).encode(), b"", {}

    def header(self) -> Request:
        """A length of the JSON that is not its length."""
        header, body, headers = request([1, 1], elements(PIXELS))
        length = self.random.choice(("0", "1", "-1", "x", "", str(len(header) - 1), str(len(header) + 1), "9" * 30))
        return header, body, headers | {"Inference-Header-Content-Length": length}

    def damaged(self, content: bytes) -> bytes:
        """The bytes with one to three faults: a byte, a number, a piece that is gone, doubled or moved, a cut."""
        changed = bytearray(content)
        for _ in range(self.random.randint(1, 3)):
            place = self.random.randrange(len(changed) or 1)
            length = self.random.choice((1, 2, 4, 16, 300))
            fault = self.random.randrange(6)
            if fault == 0:
                changed[place : place + 1] = self.random.randbytes(1)
            elif fault == 1:
                changed[place : place + 4] = self.random.choice((0, 1, 2**16, 2**31 - 1, 2**32 - 1)).to_bytes(4, "big")
            elif fault == 2:
                del changed[place : place + length]
            elif fault == 3:
                changed[place:place] = changed[place : place + length]
            elif fault == 4:
                del changed[place:]
            else:
                changed[place:place] = self.random.randbytes(length)
        return bytes(changed)


def elements(*files: bytes) -> bytes:
    """Files as a request carries them, each behind its length."""
    return b"".join(len(file).to_bytes(4, "little") + file for file in files)


def ppm(image: np.ndarray) -> bytes:
    return b"P6\n%d %d\n255\n" % image.shape[1::-1] + image.tobytes()


def request(
    shape: list[int],
    content: bytes,
    datatype: str = "BYTES",
    binary_data_size: int | None = None,
    parameters: dict[str, Any] | None = None,
    outputs: list[dict[str, Any]] | None = None,
) -> Request:
    size = len(content) if binary_data_size is None else binary_data_size
    given = {"name": "image", "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": size}}
    fields: dict[str, Any] = {"inputs": [given]}
    if parameters is not None:
        fields["parameters"] = parameters
    if outputs is not None:
        fields["outputs"] = outputs
    header = json.dumps(fields).encode()
    return header, content, {"Inference-Header-Content-Length": str(len(header))}


def chunk(kind: bytes, data: bytes, claimed: int | None = None) -> bytes:
    length = len(data) if claimed is None else claimed
    return length.to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def seed_pictures() -> list[bytes]:
    """Sound files of several formats, and files whose headers claim much more than they hold."""
    shown = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8), (0, 0), 2)
    options: list[tuple[str, list[int]]] = [
        *((".png", []), (".jpg", []), (".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]), (".bmp", []), (".webp", [])),
        (".tif", []),
    ]
    files = [cv2.imencode(suffix, shown, given)[1].tobytes() for suffix, given in options]
    turned = struct.pack("<HHHIHHI", 1, 0x0112, 3, 1, 6, 0, 0)  # one tag: turn it by 90 degrees
    exif = b"Exif\0\0II*\0\x08\0\0\0" + turned
    jpeg = next(file for file in files if file.startswith(b"\xff\xd8"))
    files.append(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(exif)) + exif + jpeg[2:])

    def header(width: int, height: int) -> bytes:
        return PNG + chunk(b"IHDR", width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0]))

    rows = chunk(b"IDAT", zlib.compress(bytes(64 * 193))) + chunk(b"IEND", b"")
    files += [header(100_000, 100_000) + rows, header(7000, 7000) + rows, header(64, 0) + rows]
    files += [header(64, 64) + chunk(b"IDAT", b"x" * 20, claimed) for claimed in (2**31 - 16, 2**32 - 1, 2**24)]
    return [*files, ppm(shown), b"GIF89a" + bytes(20), b"", b"\xff\xd8\xff", b"RIFF\xff\xff\xff\xffWEBPVP8 "]


def send(connection: HTTPConnection, sent: Request) -> tuple[int, bytes]:
    """Status and content of the answer; status 0 for a connection that broke."""
    header, content, headers = sent
    try:
        connection.request("POST", "/v2/models/sacvit/infer", header + content, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, HTTPException) as reason:
        connection.close()
        return 0, repr(reason).encode()


class Fuzz:
    """The requests of all clients to one server, and what became of them."""

    def __init__(self, server: LocalServer, images: np.ndarray, expected: list[Result], total: int) -> None:
        self.server, self.images, self.expected, self.total = server, images, expected, total
        self.outcomes: Counter[str] = Counter()
        self.faults: list[str] = []
        self.memory_mib: list[int] = []
        self.most_mib = 0
        self._lock = threading.Lock()

    def client(self, seed: int, count: int) -> None:
        chosen = random.Random(seed)
        damage = Damage(chosen, seed_pictures())
        connection = HTTPConnection("127.0.0.1", self.server.ports.http, timeout=60)
        for _ in range(count):
            if self.faults:
                return
            if chosen.random() < GOOD_SHARE:
                place = chosen.randrange(len(self.images))
                sent = request([1, 1], elements(ppm(self.images[place])))
                status, content = send(connection, sent)
                while HURT in content:
                    self.judge("hurt", None, status, content)
                    status, content = send(connection, sent)
                self.judge("good", place, status, content)
            else:
                kind, sent = damage.draw()
                self.judge(kind, None, *send(connection, sent))
        connection.close()

    def judge(self, kind: str, place: int | None, status: int, content: bytes) -> None:
        fault = None
        if self.server.process.poll() is not None:
            fault = f"the server ended with {self.server.process.poll()} after a request of kind {kind}"
        elif DEFECT in content or b"Stub process" in content:
            fault = f"a request of kind {kind} met a defect: {content[:300]!r}\n{self.server.tail()}"
        elif place is not None and (status != 200 or not self.is_right(place, content)):
            fault = f"a good request was answered with {status} {content[:300]!r}"
        with self._lock:
            self.outcomes[f"{kind} {status}"] += 1
            if fault:
                self.faults.append(fault)
            done = sum(self.outcomes.values())
            if done % max(1, self.total // 50) == 0:
                now, self.most_mib = self.server.memory_mib()
                self.memory_mib.append(now)
                print(f"{done} requests, {self.memory_mib[-1]} MiB", file=sys.stderr)

    def is_right(self, place: int, content: bytes) -> bool:
        found = {output["name"]: output["data"] for output in json.loads(content)["outputs"]}
        wanted = self.expected[place]
        same = found["index"] == [wanted.index] and found["stage"] == [STAGE_NUMBERS[wanted.stage]]
        return same and abs(found["probability"][0] - wanted.probability) < 1e-4

    def summary(self) -> dict[str, Any]:
        first = self.memory_mib[int(len(self.memory_mib) * WARM_SHARE)] if self.memory_mib else 0
        last = self.memory_mib[-1] if self.memory_mib else 0
        if last - first > GROWTH_MIB:
            self.faults.append(f"memory grew from {first} to {last} MiB")
        if self.most_mib - first > PEAK_MIB:
            self.faults.append(f"memory rose from {first} to {self.most_mib} MiB")
        return {
            "requests": sum(self.outcomes.values()),
            "outcomes": dict(sorted(self.outcomes.items())),
            "memory_mib": {"warm": first, "last": last, "most": self.most_mib},
            "faults": self.faults,
        }


def run_fuzz(
    engines: tuple[Path, Path], environment: Path, requests: int, seed: int = 0, clients: int = 4
) -> dict[str, Any]:
    """Sends the requests to a server of its own; `faults` of the result is empty when all went well."""
    pipeline = Pipeline.load(*engines, provider="cpu")
    size = pipeline.preprocessing.image_size
    rng = np.random.default_rng(7)
    fields = [cv2.resize(rng.uniform(0, 255, (5, 5, 3)).astype(np.float32), (size, size)) for _ in range(32)]
    images = np.clip(fields, 0, 255).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        write_repository(pipeline, Path(folder) / "models", ServeOptions(python_only=True))
        with LocalServer(Path(folder) / "models", environment) as server:
            fuzz = Fuzz(server, images, pipeline(list(images)), requests)
            with ThreadPoolExecutor(clients) as pool:
                list(pool.map(lambda one: fuzz.client(1000 * seed + one, requests // clients), range(clients)))
            return fuzz.summary()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", type=Path, nargs=2, default=[BUNDLE / "ee.onnx", BUNDLE / "sac.onnx"])
    parser.add_argument("--environment", type=Path, default=ROOT / ".venv-triton")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0, help="Draw other requests.")
    options = parser.parse_args()
    found = run_fuzz(tuple(options.engine), options.environment, options.requests, options.seed, options.clients)
    print(json.dumps(found, indent=1))
    return 1 if found["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
