"""A stand-in for `cuda.bindings.driver`: contexts beside the one of CUDA's runtime, and which of them memory belongs to."""

from __future__ import annotations

from enum import IntEnum

from gpu_beliefs import enacts

from .runtime import DEVICE, PRIMARY, Handle, Stream

CUDA_VERSION = 12090


class CUresult(IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_INVALID_VALUE = 1


class CUpointer_attribute(IntEnum):
    CU_POINTER_ATTRIBUTE_CONTEXT = 1


OK = CUresult.CUDA_SUCCESS


def cuDevicePrimaryCtxRetain(dev):
    return OK, Handle(PRIMARY)


def cuCtxCreate(*arguments):
    DEVICE.context = next(DEVICE.numbers)
    return OK, Handle(DEVICE.context)


def cuCtxPopCurrent():
    popped, DEVICE.context = DEVICE.context, PRIMARY
    return OK, Handle(popped)


def cuCtxDestroy(ctx):
    return (OK,)


def cuMemAlloc(bytesize):
    return OK, Handle(DEVICE.allocate(bytesize, "device"))


def cuMemFree(dptr):
    return (OK if DEVICE.blocks.pop(int(dptr), None) else CUresult.CUDA_ERROR_INVALID_VALUE,)


def cuStreamCreate(Flags):
    stream = Stream(next(DEVICE.numbers), context=DEVICE.context)
    DEVICE.streams[stream.handle] = stream
    return OK, Handle(stream.handle)


@enacts("context of memory")
def cuPointerGetAttribute(attribute, ptr):
    assert attribute == CUpointer_attribute.CU_POINTER_ATTRIBUTE_CONTEXT
    context = DEVICE.context_of((int(ptr), 1))
    return (OK, Handle(context)) if context else (CUresult.CUDA_ERROR_INVALID_VALUE, None)
