"""What comes over the network: requests to a server of ours, and the answers of a server that may be anybody's."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np

from .bundle_kinds import make_description, read_description
from .image_kinds import make_pictures
from .kind import Kind, digest
from .mutate import VALUES, changed_json, damaged_bytes, damaged_head, flipped_bit

BYTES = (damaged_bytes, damaged_head, flipped_bit)
IMAGES = 3  # of a request


def make_requests(folder: Path) -> None:
    """Pictures as a client sends them, and the parameters beside them."""
    make_pictures(folder)
    (folder / "parameters.json").write_text('{"eta": 0.4}')


def read_request(folder: Path, damaged: Path) -> Any:
    """As our model on a Triton reads it."""
    from sacvit.bundle.preprocess import Preprocessing
    from sacvit.serving.requests import fills_of, threshold_of

    rule = Preprocessing(32)
    if damaged.suffix == ".json":
        # Triton's own text: JSON that its C++ has parsed and written, or nothing.
        return threshold_of(json.dumps(json.loads(damaged.read_text())), 0.5)
    pictures = np.array([[damaged.read_bytes()]], object)
    slot = np.zeros((32, 32, 3), np.uint8)
    for fill in fills_of(pictures, rule):
        fill(slot)
    return digest(slot)


def other_value(content: bytes, chance: random.Random) -> bytes:
    name = chance.choice(("eta", "eta", "threshold", "", "\x1b[31m"))
    return json.dumps({name: chance.choice([*VALUES, float("nan"), float("inf"), 10**400])}).encode()


def make_answer(folder: Path) -> None:
    """A right answer of a server: the header's length, the header, the numbers."""
    from sacvit.serving.answers import DATATYPES, WANTED
    from sacvit.serving.description import OUTPUTS

    make_description(folder)
    about = _about(folder)
    values = {
        "index": 1,
        "probability": 0.5,
        "stage": 1,
        "confidence": 0.5,
        "target_map": 0,
        "ee_ms": 1.0,
        "sac_ms": 0.0,
    }
    outputs, body = [], b""
    for name in WANTED:
        part = np.full((IMAGES, *about.shapes[name]), values[name], OUTPUTS[name]).tobytes()
        shape = [IMAGES, *about.shapes[name]]
        parameters = {"binary_data_size": len(part)}
        outputs.append({"name": name, "datatype": DATATYPES[OUTPUTS[name]], "shape": shape, "parameters": parameters})
        body += part
    header = json.dumps({"outputs": outputs}).encode()
    (folder / "answer").write_bytes(b"%d\n" % len(header) + header + body)


def read_answer(folder: Path, damaged: Path) -> Any:
    from sacvit.serving.answers import results_of

    length, _, content = damaged.read_bytes().partition(b"\n")
    results = results_of(content, length.decode("latin-1"), _about(folder), IMAGES, "http://127.0.0.1:8000")
    return repr(results)


def changed_header(content: bytes, chance: random.Random) -> bytes:
    length, _, rest = content.partition(b"\n")
    header = changed_json(rest[: int(length)], chance)
    return b"%d\n" % len(header) + header + rest[int(length) :]


def changed_number(content: bytes, chance: random.Random) -> bytes:
    length, _, rest = content.partition(b"\n")
    numbers = bytearray(rest[int(length) :])
    value = chance.choice((np.inf, -np.inf, np.nan, -1, 1e9, 0, 2**31))
    place = chance.randrange(0, len(numbers) - 4, 4)
    numbers[place : place + 4] = np.float32(value).tobytes() if chance.random() < 0.5 else chance.randbytes(4)
    return length + b"\n" + rest[: int(length)] + bytes(numbers)


def _about(folder: Path) -> Any:
    from sacvit.serving.description import KEY, About

    inner = (folder / "config.json").read_text()
    return About.from_config(json.dumps({"parameters": {KEY: {"string_value": inner}}}), "the model")


KINDS = (
    Kind("request to a server", make_requests, ("?.*",), read_request, BYTES),
    Kind("parameters of a request", make_requests, ("*.json",), read_request, (other_value,), share=0.3),
    Kind("answer of a server", make_answer, ("answer",), read_answer, (*BYTES, changed_header, changed_number)),
    Kind("description of a served model", make_description, ("*",), read_description, (damaged_bytes, changed_json)),
)
