"""Memory that the two stages share: what an engine is given, and what the host sees of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from ...bundle.errors import ImageError

Array = npt.NDArray[Any]
ALIGNMENT = 256  # bytes; of a tensor inside a block, as TensorRT asks

ON_A_GPU = (
    "the image lies on a GPU, these engines take images from host memory: copy it there first, with array.get() in PyCUDA"
    " and CuPy, tensor.cpu() in torch"
)
Use = Literal["upload", "download", "internal"]  # the host writes it, reads it, or neither


@dataclass(frozen=True)
class TensorSpec:
    """Type and shape of a tensor; of a stage's output: per image, without the batch dimension."""

    kind: type[np.generic]
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * np.dtype(self.kind).itemsize


@dataclass(frozen=True)
class Buffer:
    """One tensor's memory, which stays in place as long as the buffer, or one made from it, lives.

    host is None where the host never looks. With `mirrored`, it is a copy that someone has to keep up to date; without,
    it is the very memory that the engine works on.
    """

    spec: TensorSpec
    address: int  # that the engine is given
    host: Array | None
    mirrored: bool
    owner: object  # of the memory
    place: Literal["cpu", "cuda"] = "cpu"

    @property
    def host_address(self) -> int:
        assert self.host is not None
        return int(self.host.ctypes.data)

    def first(self, count: int) -> Buffer:
        """The first `count` entries, at the same addresses."""
        return replace(
            self,
            spec=TensorSpec(self.spec.kind, (count, *self.spec.shape[1:])),
            host=None if self.host is None else self.host[:count],
        )


class Lane(Protocol):
    """What passes run on, one after another. Passes on two lanes may overlap where the device says so."""

    @property
    def handle(self) -> int | None:
        """The CUDA stream; None where there is none."""


class Device(Protocol):
    """Where a stage's buffers live.

    name: two stages hand over in place only on devices of one name. overlaps: passes on two lanes may run at once.
    """

    name: str
    overlaps: bool

    def allocate(self, specs: Mapping[str, TensorSpec], use: Use) -> dict[str, Buffer]:
        """Buffers by name; what the host sees of them is zeroed. Those of one call lie in one block, in order."""

    def lanes(self, scratch_bytes: Sequence[int]) -> list[Lane]:
        """A lane for each number: of bytes that the engines which run on it need at most."""

    def copy(self, target: int, source: int, nbytes: int, lane: Any) -> None:
        """Enqueues a copy of what lies on the GPU. Raises ImageError where the engines read host memory."""

    def follow(self, lane: Any, stream: int) -> None:
        """Lets the lane's next work wait for the work that another program's CUDA stream holds now. Raises ImageError
        likewise."""

    def in_reach(self, address: int) -> bool:
        """Whether the engines can read what lies at an address on the GPU."""


class HostLane:
    """The calling thread."""

    handle = None


class HostDevice:
    """Ordinary memory: the engine works on the arrays themselves."""

    name, overlaps = "host memory", False

    def allocate(self, specs: Mapping[str, TensorSpec], use: Use) -> dict[str, Buffer]:
        arrays = {name: np.zeros(spec.shape, spec.kind) for name, spec in specs.items()}
        return {
            name: Buffer(specs[name], array.ctypes.data, array, mirrored=False, owner=array)
            for name, array in arrays.items()
        }

    def lanes(self, scratch_bytes: Sequence[int]) -> list[Lane]:
        return [HostLane() for _ in scratch_bytes]

    def copy(self, target: int, source: int, nbytes: int, lane: Any) -> None:
        """See `Device`."""
        raise ImageError(ON_A_GPU)

    def follow(self, lane: Any, stream: int) -> None:
        """See `Device`."""
        raise ImageError(ON_A_GPU)

    def in_reach(self, address: int) -> bool:
        """See `Device`."""
        return False


def offsets(specs: Mapping[str, TensorSpec]) -> tuple[dict[str, int], int]:
    """Where each tensor begins inside one block, and the block's size in bytes."""
    places, end = {}, 0
    for name, spec in specs.items():
        places[name] = end
        end += -(-max(spec.nbytes, 1) // ALIGNMENT) * ALIGNMENT
    return places, end


def wrap(arrays: Mapping[str, Array]) -> dict[str, Buffer]:
    """Contiguous arrays of the caller as buffers of a `HostDevice`."""
    return {
        name: Buffer(TensorSpec(array.dtype.type, array.shape), array.ctypes.data, array, mirrored=False, owner=array)
        for name, array in arrays.items()
    }
