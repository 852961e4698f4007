"""Which GPU a command uses: --device N leaves one GPU visible to this process and to what it starts.

CUDA, TensorRT, ONNX Runtime and the readings of NVML then mean the same GPU, in every thread, and nothing takes memory of
another one. CUDA reads CUDA_VISIBLE_DEVICES when it is first used, and once. So this comes before engines are loaded, and a
process of its own counts the GPUs.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import MutableMapping
from typing import NamedTuple

from ..bundle.errors import DeviceError, UsageError

logger = logging.getLogger(__name__)
LISTING_S = 60.0  # a driver that loads its module for the first time takes some of them
NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE
# The driver's own library, which is there with every driver; the bindings are not, where ONNX Runtime runs the engines.
LIST = f"""
import ctypes, json, sys, uuid
try:
    cuda = ctypes.CDLL("libcuda.so.1")
except OSError as reason:
    sys.exit(str(reason))
def call(name, *arguments):
    error = getattr(cuda, name)(*arguments)
    if error and error != {NO_DEVICE}:
        sys.exit(f"{{name}} gives error {{error}}")
    return error
count, gpus = ctypes.c_int(0), []
if not call("cuInit", 0):
    call("cuDeviceGetCount", ctypes.byref(count))
for number in range(count.value):
    device, name, identity = ctypes.c_int(), ctypes.create_string_buffer(256), (ctypes.c_ubyte * 16)()
    call("cuDeviceGet", ctypes.byref(device), number)
    call("cuDeviceGetName", name, 256, device)
    call("cuDeviceGetUuid", identity, device)
    gpus.append([name.value.decode("utf-8", "replace"), f"GPU-{{uuid.UUID(bytes=bytes(identity))}}"])
print(json.dumps(gpus))
"""


class VisibleGpu(NamedTuple):
    """A GPU by the name and the number that its driver gives it."""

    name: str
    uuid: str


def list_gpus() -> list[VisibleGpu]:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves, in CUDA's order. Raises DeviceError where the driver does not answer."""
    try:
        done = subprocess.run(  # noqa: S603  # this Python, and our own text
            [sys.executable, "-ISc", LIST], capture_output=True, text=True, check=False, timeout=LISTING_S
        )
    except subprocess.TimeoutExpired:
        raise DeviceError(f"--device: the GPU's driver gave no answer within {LISTING_S:g} s. See dmesg") from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise DeviceError(
            f"--device: no GPU that CUDA can use: {reason}. Check the driver (nvidia-smi; on a Jetson, tegrastats)"
        )
    return [VisibleGpu(*entry) for entry in json.loads(done.stdout)]


def leave_visible(number: int, environment: MutableMapping[str, str] = os.environ) -> None:
    """Hides all GPUs but one. Raises DeviceError, which lists the GPUs, where there is none of this number."""
    if number < 0:
        raise UsageError(f"--device must be at least 0, found {number}")
    gpus = list_gpus()
    if number >= len(gpus):
        there = "; ".join(f"{place}: {gpu.name}" for place, gpu in enumerate(gpus)) or "none"
        raise DeviceError(f"--device {number}: there is no such GPU. The GPUs of this machine: {there}")
    logger.info("GPU %d: %s", number, gpus[number].name)
    given = environment.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        environment["CUDA_VISIBLE_DEVICES"] = given.split(",")[number].strip()
    elif len(gpus) > 1:  # by its identity, since NVML numbers GPUs in another order than CUDA
        environment["CUDA_VISIBLE_DEVICES"] = gpus[number].uuid
