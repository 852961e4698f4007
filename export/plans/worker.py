"""One job of a build in a process of its own: what TensorRT holds is given back when it ends, and it may die alone.

spec.json -> result.json    {"job": a name in `run_job`, ...} -> {"done": ...} or {"fault": ..., "text": ...}
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...bundle.errors import DeviceError, SacvitError
from ...bundle.precision import Limits
from ...runtime.engines.cuda import open_cuda
from ...runtime.engines.tensorrt_log import known_targets, load_tensorrt, load_tensorrt_rtx
from .ladder import Rung, features_of
from .trt_builder import BuildOptions, build_plan

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def probe() -> dict[str, Any]:
    """The GPU and the TensorRT that a build would use."""
    trt = load_tensorrt()
    cuda, features = open_cuda(), features_of(trt)
    free, total = cuda.memory_bytes()
    return {
        "tensorrt": trt.__version__,
        "strong": features.strong,
        "flags": features.flags,
        "bf16": features.bf16,
        "gpu": vars(cuda.gpu),
        "integrated": cuda.is_integrated,
        "cuda_driver": cuda.driver_version,
        "free_bytes": free,
        "total_bytes": total,
    }


def probe_rtx() -> dict[str, Any]:
    """The TensorRT for RTX that a build would use, and the GPU where there is one: it builds without."""
    trt = load_tensorrt_rtx()
    found: dict[str, Any] = {
        "tensorrt_rtx": trt.__version__,
        "targets": known_targets(trt),
        "gpu": None,
        "reason": None,
    }
    try:
        found["gpu"] = vars(open_cuda().gpu)
    except DeviceError as reason:
        found["reason"] = str(reason)
    except ModuleNotFoundError:
        found["reason"] = "cuda-python is not installed: pip install 'sacvit[rtx]'"
    return found


def run_job(spec: dict[str, Any]) -> dict[str, Any]:
    if spec["job"] == "probe":
        return probe()
    if spec["job"] == "probe rtx":
        return probe_rtx()
    if spec["job"] == "build":
        cache = spec["timing_cache"]
        options = BuildOptions(
            tuple(spec["batches"]),
            spec["workspace_mib"],
            spec["level"],
            None if cache is None else Path(cache),
            tuple(spec["targets"]),
        )
        return build_plan(Path(spec["onnx"]), spec["stage"], Rung(**spec["rung"]), options, Path(spec["plan"]))
    from .verify import verify

    sac = spec["sac"]
    verdict = verify(
        Path(spec["folder"]),
        Path(spec["ee"]),
        None if sac is None else Path(sac),
        spec["threshold"],
        Limits(**spec["limits"]),
        check_ee=sac is None,
    )
    return verdict.to_dict()


def end_with_parent(parent: int) -> None:
    """Asks Linux to end this process when its parent ends, however that happens: a build would go on for an hour alone."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before that was asked
        os._exit(1)


def ignore_interrupts() -> None:
    """A Ctrl-C reaches the parent too, which ends this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def main(spec_path: str, result_path: str) -> None:
    do_job(spec_path, result_path, run_job)


def do_job(spec_path: str, result_path: str, run: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Reads the job, does it, and writes what it says. Faults of ours and missing packages are written too."""
    ignore_interrupts()
    spec = json.loads(Path(spec_path).read_text("utf-8"))
    end_with_parent(spec.pop("parent"))
    result: dict[str, Any]
    try:
        result = {"done": run(spec)}
    except SacvitError as fault:
        result = {"fault": type(fault).__name__, "text": str(fault)}
    except ModuleNotFoundError as missing:
        result = {"fault": "ModuleNotFoundError", "text": str(missing), "name": missing.name}
    Path(result_path).write_text(json.dumps(result), "utf-8")
