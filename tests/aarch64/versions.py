"""The versions that the device's tests run with, in one line."""

from __future__ import annotations

import platform
from importlib.metadata import version

import cv2

packages = ("numpy", "onnxruntime", "msgspec", "tqdm", "pytest", "hypothesis", "sacvit")
gstreamer = [line.partition(":")[2].strip() for line in cv2.getBuildInformation().splitlines() if "GStreamer:" in line]
found = [f"Python {platform.python_version()}", f"OpenCV {cv2.__version__} (GStreamer {gstreamer[0]})"]
print(f"versions: {platform.machine()},", ", ".join(found + [f"{name} {version(name)}" for name in packages]))
