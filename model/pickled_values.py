"""Inert stand-ins for the classes that training scripts pickle beside their weights, such as `args` and NumPy's scalars.

torch.load(weights_only=True) refuses each class that it was not told of by name. STAND_INS tells it which of our classes
to build under which names, so no code of the real classes runs, and a file can be read on every Python and every system:
`pathlib.WindowsPath` cannot be made on Linux, and NumPy 2 and Python 3.13 renamed modules.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
from torch import Tensor

MAX_DIMENSIONS = 16
PLAIN_NUMBER = re.compile(r"[biuf][1248]")  # NumPy's names of the types that are plain numbers


class Opaque:
    """An object of which nothing is kept."""

    def __init__(self, *arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


class NumberType:
    """numpy.dtype: only the name of a plain number type is kept."""

    def __init__(self, name: object = "", *options: object) -> None:
        self.name = name if isinstance(name, str) and PLAIN_NUMBER.fullmatch(name) else ""
        self.order = "<"

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">"):
            self.order = state[1]

    def read(self, content: object) -> np.ndarray[Any, Any] | None:
        """The numbers in a buffer, (N,); None where it holds something else."""
        if not self.name or not isinstance(content, bytes):
            return None
        kind = np.dtype(self.order + self.name)
        return np.frombuffer(content, kind) if len(content) % kind.itemsize == 0 else None


class Array:
    """numpy.ndarray: shape and content, for scripts that save weights as arrays."""

    def __init__(self, *arguments: object) -> None:
        self.shape: tuple[int, ...] = ()
        self.values: np.ndarray[Any, Any] | None = None

    def __setstate__(self, state: object) -> None:
        if not (isinstance(state, tuple) and len(state) == 5 and isinstance(state[2], NumberType)):
            return
        _, shape, kind, is_fortran, content = state
        values = kind.read(content)
        sizes = shape if isinstance(shape, tuple) and len(shape) <= MAX_DIMENSIONS else (-1,)
        if values is None or not all(type(size) is int and size >= 0 for size in sizes):
            return
        if int(np.prod(sizes, dtype=object)) == len(values):
            self.shape, self.values = sizes, values.reshape(sizes, order="F" if is_fortran else "C")

    def tensor(self) -> Tensor | None:
        """The array as a tensor; None where it does not hold plain numbers."""
        if self.values is None:
            return None
        return torch.from_numpy(np.array(self.values, self.values.dtype.newbyteorder("="), order="C"))


def scalar(kind: object, content: object = b"") -> object:
    """numpy.float64(1.5) and its like, as a number of Python's; None where it is no plain number."""
    values = kind.read(content) if isinstance(kind, NumberType) else None
    return values[0].item() if values is not None and len(values) == 1 else None


def new_array(*arguments: object) -> Array:
    return Array()


def new_dict(*arguments: object) -> dict[Any, Any]:
    """collections.defaultdict, whose entries follow."""
    return {}


def new_list(*arguments: object) -> list[Any]:
    """collections.deque, whose members follow."""
    return []


def empty_bytes(*arguments: object) -> bytes:
    """bytes(): protocol 2 has no other word for b""."""
    return b""


STAND_INS: list[Any] = [
    (Opaque, "argparse.Namespace"),
    (Opaque, "types.SimpleNamespace"),
    (Opaque, "builtins.dict"),  # which kind of values a defaultdict makes
    (Opaque, "builtins.list"),
    (Opaque, "builtins.int"),
    (Opaque, "builtins.float"),
    (empty_bytes, "builtins.bytes"),
    (Opaque, "datetime.datetime"),
    (Opaque, "datetime.timedelta"),
    (Opaque, "torch.torch_version.TorchVersion"),
    (new_dict, "collections.defaultdict"),
    (new_list, "collections.deque"),
    (NumberType, "numpy.dtype"),
    (Array, "numpy.ndarray"),
    *(
        (Opaque, f"{module}.{system}")
        for module in ("pathlib", "pathlib._local")  # before Python 3.13, and in it
        for system in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "Path", "PurePath")
    ),
    *(
        (make, f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")  # NumPy 1 and 2
        for make, name in ((scalar, "scalar"), (new_array, "_reconstruct"))
    ),
]
