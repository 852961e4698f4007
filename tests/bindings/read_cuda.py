"""Prints what the real cuda.bindings offers under the names on stdin, as JSON: signatures, constants, enum members.

    PYTHONPATH=wheel python read_cuda.py < NAMES.json

Also what our own layer says of the GPU, or why there is none.
"""

from __future__ import annotations

import inspect
import json
import sys

from cuda.bindings import driver, runtime


def describe(name: str) -> object:
    value = getattr(runtime, name, getattr(driver, name, None))
    if value is None or isinstance(value, int):
        return value
    if hasattr(value, "__members__"):
        return {key: int(member) for key, member in value.__members__.items()}
    if name == "cudaDeviceProp":
        return sorted(key for key in dir(value()) if not key.startswith("_"))
    return list(inspect.signature(value).parameters)


def main() -> None:
    from sacvit.bundle.errors import DeviceError
    from sacvit.runtime.engines.cuda import Cuda

    try:
        ours = str(Cuda(runtime, driver).gpu)
    except DeviceError as reason:
        ours = f"DeviceError: {reason}"
    counted, _ = runtime.cudaGetDeviceCount()
    print(
        json.dumps(
            {"names": {name: describe(name) for name in json.load(sys.stdin)}, "ours": ours, "count": int(counted)}
        )
    )


if __name__ == "__main__":
    main()
