from __future__ import annotations

import ctypes
from dataclasses import dataclass, field

import numpy as np
import pytest

from sacvit.bundle.errors import ImageError
from sacvit.runtime.chain.device_arrays import CUDA, DeviceBatch, is_foreign, unwrap
from sacvit.runtime.engines.buffers import HostDevice, HostLane


class OnGpu:
    """What PyCUDA, CuPy, Numba and torch show of an array on the GPU."""

    def __init__(self, shape, address=4096, **changes) -> None:
        self.__cuda_array_interface__ = {
            "shape": shape, "typestr": "|u1", "data": (address, False), "version": 3, "strides": None, "stream": None
        } | changes  # fmt: skip


class Capsule:
    """A DLPack exporter whose tensor lies on a device of that type."""

    def __init__(self, shape, kind=CUDA, strides=None, code=1, bits=8, offset=0) -> None:
        from sacvit.runtime.chain.device_arrays import _Tensor

        self.shape, self.kind, self.streams = shape, kind, []
        self._shape = (ctypes.c_int64 * len(shape))(*shape)
        self._strides = None if strides is None else (ctypes.c_int64 * len(strides))(*strides)
        as_pointer = ctypes.POINTER(ctypes.c_int64)
        self.tensor = _Tensor(
            8192, kind, 0, len(shape), code, bits, 1,
            ctypes.cast(self._shape, as_pointer),
            as_pointer() if self._strides is None else ctypes.cast(self._strides, as_pointer),
            offset,
        )  # fmt: skip

    def __dlpack_device__(self):
        return self.kind, 0

    def __dlpack__(self, stream=None):
        self.streams.append(stream)
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        return new(ctypes.addressof(self.tensor), b"dltensor", None)


@dataclass
class Gpu(HostDevice):
    """Engines on a GPU whose lane is stream 77."""

    reach: bool = True
    followed: list[int] = field(default_factory=list)

    handle = 77

    def follow(self, lane, stream) -> None:
        assert lane is self
        self.followed.append(stream)

    def in_reach(self, address) -> bool:
        return self.reach


def taken(image, gpu=None) -> DeviceBatch:
    gpu = gpu or Gpu()
    batch = unwrap(image, gpu, gpu)
    assert isinstance(batch, DeviceBatch)
    return batch


@pytest.mark.parametrize("make", [OnGpu, Capsule])
def test_one_image_on_the_gpu_is_one(make):
    batch = taken(make((32, 32, 3)))
    assert batch.is_single and [image.side for image in batch.images] == [32]


@pytest.mark.parametrize(("make", "base"), [(OnGpu, 4096), (Capsule, 8192)])
def test_the_images_of_a_batch_lie_one_behind_the_other(make, base):
    batch = taken(make((3, 32, 32, 3)))
    assert not batch.is_single
    assert [image.address - base for image in batch.images] == [0, 3072, 6144]


def test_dlpacks_byte_offset_counts():
    assert taken(Capsule((32, 32, 3), offset=64)).images[0].address == 8192 + 64


@pytest.mark.parametrize(("named", "followed"), [(5, 5), (1, 1), (None, 1)])
def test_the_owners_stream_is_followed_or_else_the_default_one(named, followed):
    gpu = Gpu()
    taken(OnGpu((32, 32, 3), stream=named), gpu)
    assert gpu.followed == [followed]


def test_an_older_interface_that_cannot_name_its_stream_makes_us_follow_the_default_one():
    image, gpu = OnGpu((32, 32, 3), version=2), Gpu()
    del image.__cuda_array_interface__["stream"]
    taken(image, gpu)
    assert gpu.followed == [1]


@pytest.mark.parametrize("make", [OnGpu, Capsule])
def test_memory_of_another_context_is_refused_with_pycudas_cure(make):
    gpu = Gpu(reach=False)
    with pytest.raises(ImageError, match=r"another CUDA context .* import pycuda\.autoprimaryctx .* array\.get\(\)"):
        taken(make((32, 32, 3)), gpu)
    assert gpu.followed == []


def test_of_both_protocols_dlpack_is_taken_since_it_orders_the_streams():
    class Torch(OnGpu, Capsule):
        def __init__(self) -> None:
            OnGpu.__init__(self, (32, 32, 3), version=2)
            Capsule.__init__(self, (32, 32, 3))

    image = Torch()
    assert taken(image).images[0].address == 8192 and image.streams == [77]


def test_dlpacks_owner_is_told_our_stream():
    image = Capsule((32, 32, 3))
    taken(image)
    assert image.streams == [77]


def test_row_major_strides_are_contiguous():
    assert taken(OnGpu((32, 32, 3), strides=(96, 3, 1))).images
    assert taken(Capsule((32, 32, 3), strides=(96, 3, 1))).images


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (OnGpu((32, 32, 3), typestr="<f4"), "must be of uint8, found <f4"),
        (OnGpu((32, 32, 3), strides=(128, 3, 1)), "must be contiguous, found strides"),
        (OnGpu((32, 32)), "must be RGB"),
        (OnGpu((32, 48, 3)), "must be RGB"),
        (OnGpu((3, 32, 32)), "must be RGB"),
        (Capsule((32, 32, 3), code=2, bits=32), "must be of uint8, found code 2, 32 bits"),
        (Capsule((32, 32, 3), strides=(1, 32, 1024)), "must be contiguous"),
        (Capsule((32, 32, 3), kind=7), "device of DLPack's type 7"),
    ],
)
def test_an_image_that_cannot_be_taken_is_told_why(image, reason):
    with pytest.raises(ImageError, match=reason):
        taken(image)


@pytest.mark.parametrize("make", [OnGpu, Capsule])
def test_engines_on_the_cpu_take_no_image_from_a_gpu(make):
    with pytest.raises(ImageError, match=r"take images from host memory: .*array\.get\(\) in PyCUDA"):
        unwrap(make((32, 32, 3)), HostDevice(), HostLane())


def test_dlpack_in_host_memory_becomes_a_numpy_array():
    class Holder:
        def __init__(self, array) -> None:
            self.array = array

        def __dlpack__(self, **options):
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert np.array_equal(unwrap(Holder(pixels), HostDevice(), HostLane()), pixels)


def test_a_numpy_array_is_no_foreign_one():
    assert not is_foreign(np.zeros(3)) and is_foreign(OnGpu((1,))) and is_foreign(Capsule((1,)))
