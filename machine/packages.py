"""Versions of the packages and libraries that take part, read without importing them."""

from __future__ import annotations

import platform
from importlib import metadata

PARTS = (
    "numpy",
    "opencv-python",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "cuda-bindings",
    "onnx",
    "onnx-graphsurgeon",
    "torch",
)


def versions() -> dict[str, str]:
    """Installed packages that matter for a result, by name."""
    found = {"python": platform.python_version()}
    for name in PARTS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def describe_environment() -> str:
    """One line: our version, the machine, and `versions`."""
    parts = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"{metadata.version('sacvit')} on {platform.system()} {platform.machine()} ({parts})"
