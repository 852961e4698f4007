"""Prints what the real bindings of one TensorRT offer, as JSON: classes with their attributes and signatures, and enums.

    LD_LIBRARY_PATH=stubs PYTHONPATH=wheel python read_api.py NAMES.json tensorrt_bindings

The last word is the module, which is tensorrt_rtx_bindings for TensorRT for RTX. NAMES.json lists the classes and enums that
are asked for. Also makes our logger, progress monitor and profiler on the real base classes.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any

INNER = re.compile(r"tensorrt(_rtx)?_bindings\.(tensorrt(_rtx)?)")


def signature(value: object, name: str) -> str:
    """The first line of pybind11's docstring, empty for overloads and for enum-like attributes."""
    if isinstance(value, property):
        return "property"
    first = (getattr(value, "__doc__", None) or "").strip().splitlines()
    is_one = bool(first) and first[0].startswith(f"{name}(") and "Overloaded function" not in "".join(first[:3])
    return INNER.sub(r"\2", first[0]) if is_one and "*args, **kwargs" not in first[0] else ""


def main(names: dict[str, list[str]], trt: Any) -> None:
    classes = {}
    for kind in names["classes"]:
        if found := getattr(trt, kind, None):
            public = [name for name in dir(found) if not name.startswith("_") or name == "__init__"]
            classes[kind] = {name: signature(getattr(found, name), name) for name in public}
    enums = {kind: sorted(getattr(trt, kind).__members__) for kind in names["enums"] if hasattr(trt, kind)}

    from sacvit.export.plans.progress import open_monitor
    from sacvit.runtime.engines.tensorrt_log import open_journal, open_layer_times

    journal = open_journal(trt)
    journal.log(trt.ILogger.Severity.ERROR, "a reason")
    monitor = open_monitor(trt, "ee.plan") if hasattr(trt, "IProgressMonitor") else None
    goes_on = monitor is None or monitor.step_complete("phase", 0)
    profiler = open_layer_times(trt)
    profiler.report_layer_time("head", 0.5)
    ours = {"reason": journal.reason(), "goes_on": goes_on, "layers": profiler.layers}
    print(json.dumps({"version": trt.__version__, "classes": classes, "enums": enums, "ours": ours}))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text("utf-8")), importlib.import_module(sys.argv[2]))
