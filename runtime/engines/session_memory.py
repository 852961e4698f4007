"""Keeps the memory of ONNX Runtime's sessions on a CPU small: weights mapped from their file, one arena for all sessions.

ONNX Runtime reads a file whole and copies every weight once more before it packs it; what it frees in between stays with the
process. Weights that are stored beside a graph it maps instead, one by one, while it packs them. So the graph is handed over
without its weights, which it then finds in the file that they were in all along (DeiT-S, FP32: 272 instead of 331 MiB).
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

SINCE = 1, 21  # of ONNX Runtime: it takes a graph as bytes, and weights from files in a folder that an option names
LEAST_BYTES = 1 << 16  # of a weight: smaller ones are read with the graph
VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5  # wire types of protobuf
GRAPH, INITIALIZER, DIMS, RAW_DATA, EXTERNAL_DATA, DATA_LOCATION = 7, 5, 1, 9, 13, 14  # field numbers of onnx.proto
KEY, VALUE, EXTERNAL = 1, 2, 1
_ONE_AT_A_TIME = Lock()  # the stages of a pair are loaded by two threads


def mapped_session(path: Path, options: Any) -> Any | None:
    """A session on the CPU whose weights are mapped while they are packed; None where the file must be read whole.

    Only matrices are mapped: ONNX Runtime packs them and lets the file go. What stayed mapped would change when a
    program writes into the file.
    """
    import onnxruntime as ort

    file = path.resolve()  # ONNX Runtime refuses weights behind a link that leaves the folder
    before = _identity(file)
    if tuple(map(int, ort.__version__.split(".")[:2])) < SINCE or (graph := graph_without_weights(file)) is None:
        return None
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(file.parent))
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return session if _identity(file) == before else None  # another file was put in its place: those were its weights


def graph_without_weights(path: Path) -> bytes | None:
    """The model of an .onnx file with places in the file instead of its large matrices.

    None where there are none, or what the file holds is no whole model.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < LEAST_BYTES:
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                graph = b"".join(_model_parts(data, path.name))
            except (ValueError, IndexError):
                return None
    return graph if len(graph) <= size - LEAST_BYTES // 2 else None


def share_arena() -> None:
    """Registers the arena that all sessions with session.use_env_allocators take their activations from.

    The stages of a pair run one after the other, so they need the larger of both, not the sum.
    """
    with _ONE_AT_A_TIME:
        _register_arena()


@cache
def _register_arena() -> None:
    import onnxruntime as ort

    place = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    # 1: as much as is asked for. By default an arena grows in powers of two.
    with suppress(RuntimeError):  # until 1.21 at least: the program has registered one of its own, which serves as well
        ort.create_and_register_allocator(place, ort.OrtArenaCfg({"arena_extend_strategy": 1}))


def _identity(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _model_parts(data: mmap.mmap, name: str) -> Iterator[bytes]:
    for number, start, content, end in _fields(data, 0, len(data)):
        if number == GRAPH:
            parts = (
                _field(INITIALIZER, _without_weight(data, inner, inner_end, name))
                if field == INITIALIZER
                else data[begin:inner_end]
                for field, begin, inner, inner_end in _fields(data, content, end)
            )
            yield _field(GRAPH, b"".join(parts))
        else:
            yield data[start:end]


def _without_weight(data: mmap.mmap, start: int, end: int, name: str) -> bytes:
    """A TensorProto as it is, or with the place of its bytes in the file `name`."""
    fields = list(_fields(data, start, end))
    is_matrix = sum(number == DIMS for number, *_ in fields) == 2
    parts = []
    for number, begin, content, stop in fields:
        if number == RAW_DATA and is_matrix and stop - content >= LEAST_BYTES:
            place = {"location": name, "offset": str(content), "length": str(stop - content)}
            for key, value in place.items():
                parts.append(_field(EXTERNAL_DATA, _field(KEY, key.encode()) + _field(VALUE, os.fsencode(value))))
            parts.append(_varint(DATA_LOCATION << 3 | VARINT) + _varint(EXTERNAL))
        else:
            parts.append(data[begin:stop])
    return b"".join(parts)


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, start, start of the content, and end of each field of a message. Raises ValueError or IndexError for none."""
    while at < end:
        start = at
        key, at = _read_varint(data, at)
        kind = key & 7
        if kind == LENGTH:
            size, at = _read_varint(data, at)
        elif kind == VARINT:
            size = _read_varint(data, at)[1] - at
        else:
            size = {EIGHT_BYTES: 8, FOUR_BYTES: 4}.get(kind, end)  # any other is none of ONNX's
        if at + size > end:
            raise ValueError("a field goes on behind its message")
        yield key >> 3, start, at, at + size
        at += size


def _read_varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, and where it ends."""
    value = 0
    for place in range(10):
        byte = data[at + place]
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    raise ValueError("a number of more than 64 bits")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | LENGTH) + _varint(len(content)) + content
