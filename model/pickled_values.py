"""Inert stand-ins for the classes that training scripts pickle beside their weights, such as `args` and NumPy's scalars.

torch.load(weights_only=True) refuses every class that is not on its list. STAND_INS lists the names of classes and the
stand-ins that are built for them, so no code of the real classes runs, and a file can be read on every Python and every system:
`pathlib.WindowsPath` cannot be made on Linux, and NumPy 2 and Python 3.13 renamed modules. `StandIns` adds names of other
packages' classes when a file needs them.
"""

from __future__ import annotations

import re
import sys
from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

MAX_DIMENSIONS = 16
PLAIN_NUMBER = re.compile(r"[biuf][1248]")  # NumPy's names of the types that are plain numbers


class Opaque:
    """An object whose content is dropped."""

    def __init__(self, *arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


class Foreign(Opaque):
    """An object of a class of another package. Its attributes are kept: a pickled network has its weights there."""

    name = ""  # of the class, with its module
    state: Mapping[str, Any] = MappingProxyType({})

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.state = state

    def tensors(self) -> dict[str, Tensor]:
        """The state dict of a pickled torch.nn.Module; empty for any other object."""
        found: dict[str, Tensor] = {}
        pending: list[tuple[str, object]] = [("", self)]
        seen: set[int] = set()  # a damaged or hostile file may contain a cycle
        while pending:
            prefix, module = pending.pop()
            if not isinstance(module, Foreign) or id(module) in seen:
                continue
            seen.add(id(module))
            own = [module.state.get(kind) for kind in ("_parameters", "_buffers", "_modules")]
            passing = module.state.get("_non_persistent_buffers_set")
            for part in own:
                for key, value in part.items() if isinstance(part, dict) else ():
                    if isinstance(value, Tensor) and not (isinstance(passing, set) and key in passing):
                        found[f"{prefix}{key}"] = value
                    pending.append((f"{prefix}{key}.", value))
        return found


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


class DictLike:
    """A class that behaves as a dict, such as a configuration: its entries follow, which torch puts into a dict only."""

    def __new__(cls, *arguments: object) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        return OrderedDict()


class ListLike:
    """The same for a class that behaves as a list."""

    def __new__(cls, *arguments: object) -> list[Any]:  # type: ignore[misc]
        return []


def new_list(*arguments: object) -> list[Any]:
    """collections.deque, whose members follow."""
    return []


def empty_bytes(*arguments: object) -> bytes:
    """bytes(): protocol 2 has no other form of b""."""
    return b""


STAND_INS: list[Any] = [
    (Opaque, "argparse.Namespace"),
    (Opaque, "types.SimpleNamespace"),
    (Opaque, "builtins.dict"),  # which kind of values a defaultdict makes
    (Opaque, "builtins.list"),
    (Opaque, "builtins.int"),
    (Opaque, "builtins.float"),
    (Opaque, "builtins.object"),
    (Opaque, "builtins.frozenset"),
    (Opaque, "builtins.slice"),
    (Opaque, "builtins.range"),
    (Opaque, "builtins.getattr"),  # a bound method, as schedules hold them
    (Opaque, "functools.partial"),
    (Opaque, "typing.Any"),
    (Opaque, "decimal.Decimal"),
    (Opaque, "uuid.UUID"),
    (empty_bytes, "builtins.bytes"),
    *((Opaque, f"datetime.{kind}") for kind in ("datetime", "date", "time", "timedelta", "timezone")),
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

MOST_CLASSES = 100  # of other packages in one file
# torch's messages for a class that it does not know, and for one that takes no entries. They omit `builtins.`.
UNKNOWN = re.compile(r"Unsupported global: GLOBAL ([\w.]+) ")
NOT_A_CONTAINER = re.compile(r"Can only (SETITEMS?|append|extend) .*<class 'stand-in\.([\w.]+)'>")
CONTAINERS = {"SETITEM": DictLike, "SETITEMS": DictLike, "append": ListLike, "extend": ListLike}


class StandIns:
    """The stand-ins for one file. Its classes are learnt from torch's refusals.

    Classes of other packages and of scripts get a stand-in. Python's own functions do not, beside those in STAND_INS: a file
    that asks for `os.system` is refused by name, although a stand-in would not run it either.
    """

    def __init__(self) -> None:
        self._by_name: dict[str, Any] = {name: make for make, name in STAND_INS}

    @property
    def pairs(self) -> list[Any]:
        """The list for torch.serialization.safe_globals."""
        return [(make, name) for name, make in self._by_name.items()]

    def learn(self, refusal: str) -> bool:
        """Adds the class that torch refused. Returns whether another attempt may succeed."""
        if len(self._by_name) > len(STAND_INS) + MOST_CLASSES:
            return False
        if match := UNKNOWN.search(refusal):
            name = match[1]
            if not may_stand_in(name) or name in self._by_name:
                return False
            self._by_name[name] = type(name, (Foreign,), {"name": name, "__module__": "stand-in", "__qualname__": name})
            return True
        match = NOT_A_CONTAINER.search(refusal)
        if match is None:
            return False
        self._by_name[match[2]] = type(match[2], (CONTAINERS[match[1]],), {})
        return True


def may_stand_in(name: str) -> bool:
    """Whether a name may be a class of a package or a script, or a layer of torch's: not Python's and torch's functions."""
    if name.startswith("torch."):
        return name.startswith(("torch.nn.modules.", "torch.nn.parallel.", "torch.optim."))
    return "." in name and name.split(".", maxsplit=1)[0] not in sys.stdlib_module_names
