"""Reads a server's answer in the binary form of Triton's protocol. The server is not trusted: everything is checked."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from ..bundle.errors import EngineError
from ..runtime.chain.result import Result
from .connection import ANSWER_S
from .description import OUTPUTS, STAGE_NUMBERS, About

HEADER_BYTES = 1 << 16  # of the JSON before the numbers, at most
DATATYPES: dict[type[np.generic], str] = {np.uint8: "UINT8", np.int32: "INT32", np.float32: "FP32"}
WANTED = tuple(name for name in OUTPUTS if name != "label")  # labels are known from the server's config
ROUNDING = 1e-3  # of a probability of 1 that an engine computed in FP16
Columns = dict[str, npt.NDArray[Any]]


class BinarySize(msgspec.Struct):
    binary_data_size: int


class Output(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int]
    parameters: BinarySize


class Header(msgspec.Struct):
    outputs: list[Output]


def answer_bytes(about: About, count: int) -> int:
    """The most bytes that the answer for `count` images has."""
    return HEADER_BYTES + sum(
        count * int(np.prod(about.shapes[name])) * np.dtype(OUTPUTS[name]).itemsize for name in WANTED
    )


def results_of(content: bytes, header_bytes: str, about: About, count: int, whose: str) -> list[Result]:
    """A result for each of the `count` images of a request.

    header_bytes: the value of Inference-Header-Content-Length. whose: the server, for messages. Raises EngineError for an
    answer that the model in `about` cannot have given.
    """
    try:
        columns = _columns(content, header_bytes, about, count)
        _require_limits(columns, about)
    except ValueError as reason:  # also msgspec's errors
        raise EngineError(
            f"{whose} answered what its model cannot have computed: {reason}. Is it a Triton that serves what"
            f" sacvit-serve wrote?"
        ) from None
    return [_result({name: column[place] for name, column in columns.items()}, about) for place in range(count)]


def _columns(content: bytes, header_bytes: str, about: About, count: int) -> Columns:
    place = int(header_bytes) if header_bytes.isdecimal() and len(header_bytes) < 10 else 0
    header = msgspec.json.decode(content[:place], type=Header)
    columns: Columns = {}
    for output in header.outputs:
        size = output.parameters.binary_data_size
        if output.name in WANTED and output.name not in columns and size >= 0:
            kind, shape = OUTPUTS[output.name], [count, *about.shapes[output.name]]
            if (output.datatype, output.shape) != (DATATYPES[kind], shape):
                raise ValueError(
                    f"{output.name} is {output.datatype[:20]} {output.shape[:9]}, expected {DATATYPES[kind]} {shape}"
                )
            piece = content[place : place + size]
            if len(piece) != int(np.prod(shape)) * np.dtype(kind).itemsize:
                raise ValueError(
                    f"{output.name} came with {len(piece)} bytes. Where its Python has a NumPy that its Triton does not"
                    f" know, up to 24.x: pip install 'numpy<2' there"
                )
            columns[output.name] = np.frombuffer(piece, kind).reshape(shape)
        place += max(0, size)
    missing = [name for name in WANTED if name not in columns]
    if missing:
        raise ValueError(f"no {', '.join(missing)}")
    return columns


def _require_limits(columns: Columns, about: About) -> None:
    """Raises ValueError for a number that lies outside of its range, and for ranks that are not 1, 2, 3 ..."""
    limits = {
        "index": (0, about.classes - 1),
        "stage": (min(STAGE_NUMBERS.values()), max(STAGE_NUMBERS.values())),
        "probability": (0, 1 + ROUNDING),
        "confidence": (0, 1 + ROUNDING),
        "target_map": (0, about.grid**2),
        "ee_ms": (0, 1e3 * ANSWER_S),
        "sac_ms": (0, 1e3 * ANSWER_S),
    }
    for name, (low, high) in limits.items():
        column = columns[name]
        outside = column[~((column >= low) & (column <= high))]  # NaN compares false
        if outside.size:
            raise ValueError(f"{name} is {outside[0]}, expected {low} to {high:g}")
    for ranks in columns["target_map"].reshape(-1, about.grid**2):
        given = np.sort(ranks[ranks > 0])
        if not np.array_equal(given, np.arange(1, len(given) + 1)):
            raise ValueError("target_map ranks two blocks alike, or leaves a rank out")


def _result(one: dict[str, Any], about: About) -> Result:
    ranks, index = one["target_map"].reshape(-1), int(one["index"][0])
    order = np.argsort(ranks, kind="stable")[np.count_nonzero(ranks == 0) :]
    stage: Literal["EE", "SAC"] = "EE" if one["stage"][0] == STAGE_NUMBERS["EE"] else "SAC"
    return Result(
        index=index,
        label=about.labels[index] if about.labels else str(index),
        probability=float(one["probability"][0]),
        stage=stage,
        confidence=float(one["confidence"][0]),
        target_blocks=tuple(order.tolist()),
        ee_ms=float(one["ee_ms"][0]),
        sac_ms=None if stage == "EE" else float(one["sac_ms"][0]),
    )
