"""TensorRT and TensorRT for RTX, and what they say while they work: kept, so that their own reason stands in our message."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
from collections import deque
from collections.abc import Mapping
from typing import Any

from ...bundle.errors import EngineError, SacvitError

RTX_PACKAGES = ("tensorrt-rtx-cu12-libs", "tensorrt-rtx-cu12-bindings")
KEPT = 50  # lines; a failing build prints hundreds, and the last ones give the reason


def load_tensorrt() -> Any:
    """The module. Raises ModuleNotFoundError where it is not installed, EngineError where its libraries do not load."""
    try:
        import tensorrt
    except ModuleNotFoundError:
        raise
    except ImportError as reason:
        raise EngineError(
            f"TensorRT's Python package is here, its libraries are not: {reason}. On a Jetson: sudo apt install"
            f" python3-libnvinfer; elsewhere: pip install 'sacvit[tensorrt]', or set LD_LIBRARY_PATH"
        ) from None
    return tensorrt


def load_tensorrt_rtx() -> Any:
    """The module of TensorRT for RTX, from NVIDIA's whole wheel or from the two packages of sacvit[rtx]. Raises likewise."""
    try:
        try:
            return importlib.import_module("tensorrt_rtx")
        except ModuleNotFoundError:
            importlib.import_module("tensorrt_rtx_libs")  # loads what the bindings are linked with
            require_one_version(rtx_packages())
            return importlib.import_module("tensorrt_rtx_bindings")
    except ModuleNotFoundError:
        raise
    except ImportError as reason:
        raise EngineError(
            f"TensorRT for RTX's Python package is here, its libraries are not: {reason}. Both of one version:"
            f" pip install 'sacvit[rtx]'"
        ) from None


def rtx_packages() -> dict[str, str]:
    """The versions of the packages of sacvit[rtx] that are installed, by name."""
    found = {}
    for name in RTX_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def require_one_version(found: Mapping[str, str]) -> None:
    """Raises SacvitError where versions differ: bindings load other libraries, and record a version that is not theirs."""
    if len(set(found.values())) > 1:
        versions = " and ".join(f"{name} {version}" for name, version in found.items())
        raise SacvitError(f"{versions} do not fit together: pip install --upgrade {' '.join(RTX_PACKAGES)}")


def known_targets(trt: Any) -> list[str]:
    """The GPUs that this TensorRT for RTX builds for, as in sm89, oldest first."""
    numbers = [int(name[2:]) for name in dir(trt.ComputeCapability) if name.startswith("SM")]
    return [f"sm{number}" for number in sorted(numbers)]


def open_journal(trt: Any) -> Any:
    """A TensorRT logger with `errors()` and `warnings()`: its lines, oldest first. Nothing is printed."""
    severities = trt.ILogger.Severity

    class Journal(trt.ILogger):  # type: ignore[misc]  # the base class exists where TensorRT does
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._errors: deque[str] = deque(maxlen=KEPT)
            self._warnings: deque[str] = deque(maxlen=KEPT)

        def log(self, severity: Any, msg: str) -> None:
            if severity in (severities.INTERNAL_ERROR, severities.ERROR):
                self._errors.append(msg.strip())
            elif severity == severities.WARNING:
                self._warnings.append(msg.strip())

        def errors(self) -> list[str]:
            return list(self._errors)

        def warnings(self) -> list[str]:
            return list(dict.fromkeys(self._warnings))

        def reason(self) -> str:
            """TensorRT's own reason, on one line."""
            return "; ".join(dict.fromkeys(self._errors))[:2000] or "it gave no reason"

    return Journal()


def open_layer_times(trt: Any) -> Any:
    """A TensorRT profiler with `layers`: by name, in the order of their run, the ms that each took in every pass."""

    class LayerTimes(trt.IProfiler):  # type: ignore[misc]  # as above
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.layers: dict[str, list[float]] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.layers.setdefault(layer_name, []).append(ms)

    return LayerTimes()
