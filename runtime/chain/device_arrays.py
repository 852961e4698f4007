"""Images that other libraries hold on the GPU, by the two protocols they share: no library of theirs is needed.

DLPack (torch, CuPy, JAX), and the CUDA Array Interface, version 2 and 3 (PyCUDA, Numba). What lies in host memory becomes a
NumPy array.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...bundle.errors import ImageError
from ...bundle.preprocess import ImageU8
from ..engines.buffers import ON_A_GPU, Device, Lane

CPU, CUDA, CUDA_HOST, CUDA_MANAGED = 1, 2, 3, 13  # DLPack's device types
DEFAULT_STREAM = 1  # cudaStreamLegacy
UINT = 1  # DLPack's type code


@dataclass(frozen=True)
class DeviceImage:
    """A contiguous RGB image (S, S, 3) of uint8 on the GPU. The owner keeps its memory."""

    address: int
    side: int
    owner: object


@dataclass(frozen=True)
class DeviceBatch:
    """What one foreign array holds: one image (S, S, 3), or a batch of them."""

    images: list[DeviceImage]
    is_single: bool


class _Tensor(ctypes.Structure):
    """DLTensor of dlpack.h, with the fields before it that DLManagedTensor has none of."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


def is_foreign(image: object) -> bool:
    """Whether this is another library's array."""
    return not isinstance(image, np.ndarray) and (
        hasattr(image, "__cuda_array_interface__") or hasattr(image, "__dlpack__")
    )


def unwrap(image: Any, device: Device, lane: Lane) -> DeviceBatch | ImageU8:
    """A foreign array (S, S, 3) or (B, S, S, 3): in host memory as a NumPy array, on the GPU as the images in it.

    lane: of the engines, whose next work comes after what the owner is doing: DLPack's owner sees to that, for the CUDA
    Array Interface we do. Raises ImageError for anything that cannot be taken.
    """
    # DLPack first, where both are offered: its owner orders the two streams. torch's array interface names no stream.
    if not hasattr(image, "__dlpack__"):
        content = image.__cuda_array_interface__
        if lane.handle is None:
            raise ImageError(ON_A_GPU)
        shape, address = tuple(content["shape"]), int(content["data"][0])
        _require_bytes(content["typestr"] == "|u1", content["typestr"])
        strides = content.get("strides")
        _require_contiguous(shape, None if strides is None else tuple(strides))
        batch = _split(shape, address, image)
        _require_reach(device, address, image)
        # Version 2 cannot name its stream, and PyCUDA names none while its operators work on the default one.
        device.follow(lane, int(content.get("stream") or DEFAULT_STREAM))
        return batch
    kind = int(image.__dlpack_device__()[0])
    if kind in (CPU, CUDA_HOST):
        return np.from_dlpack(image)  # type: ignore[return-value]  # checked with every other array
    if kind not in (CUDA, CUDA_MANAGED):
        raise ImageError(f"the image lies on a device of DLPack's type {kind}; CUDA and the CPU can be read")
    if lane.handle is None:
        raise ImageError(ON_A_GPU)
    capsule = image.__dlpack__(stream=lane.handle)
    tensor = _tensor_in(capsule)
    _require_bytes((tensor.code, tensor.bits, tensor.lanes) == (UINT, 8, 1), f"code {tensor.code}, {tensor.bits} bits")
    shape = tuple(tensor.shape[: tensor.ndim])
    _require_contiguous(shape, tuple(tensor.strides[: tensor.ndim]) if tensor.strides else None)
    address = (tensor.data or 0) + tensor.byte_offset
    batch = _split(shape, address, (image, capsule))
    _require_reach(device, address, image)
    return batch


def _tensor_in(capsule: Any) -> _Tensor:
    """DLManagedTensor begins with its DLTensor. The capsule keeps its name: it stays the owner's to free."""
    read = ctypes.pythonapi.PyCapsule_GetPointer
    read.restype, read.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return _Tensor.from_address(read(capsule, b"dltensor"))


def _require_bytes(fits: bool, found: str) -> None:
    if not fits:
        raise ImageError(f"an image on the GPU must be of uint8, found {found}")


def _require_reach(device: Device, address: int, image: object) -> None:
    if not device.in_reach(address):
        raise ImageError(
            f"this {type(image).__name__} lies in another CUDA context than the engines, which cannot read it. With PyCUDA,"
            f" import pycuda.autoprimaryctx in place of pycuda.autoinit; or give the array in host memory: array.get()"
        )


def _require_contiguous(shape: tuple[int, ...], strides: tuple[int, ...] | None) -> None:
    wanted, step = [], 1
    for side in reversed(shape):
        wanted.append(step)
        step *= side
    if strides is not None and strides != tuple(reversed(wanted)):
        raise ImageError(f"an image on the GPU must be contiguous, found strides {strides} for {shape}")


def _split(shape: tuple[int, ...], address: int, owner: object) -> DeviceBatch:
    if len(shape) not in (3, 4) or shape[-1] != 3 or shape[-2] != shape[-3]:
        raise ImageError(f"an image on the GPU must be RGB (S, S, 3), or a batch (B, S, S, 3), found {shape}")
    side = shape[-2]
    count = shape[0] if len(shape) == 4 else 1
    images = [DeviceImage(address + index * side * side * 3, side, owner) for index in range(count)]
    return DeviceBatch(images, len(shape) == 3)
