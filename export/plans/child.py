"""A job of a build in a process of its own: a small board never holds two of TensorRT's workspaces, and TensorRT may die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ...bundle import errors
from ...bundle.errors import PlanError, SacvitError
from .request import Report

HEARTBEAT_S = 30.0


def run_child(spec: dict[str, Any], work: Path, report: Report) -> dict[str, Any]:
    """Does one job in a process of its own, and returns what it says; its errors are raised here."""
    asked, answered = work / "job.json", work / "result.json"
    asked.write_text(json.dumps({**spec, "parent": os.getpid()}), "utf-8")
    answered.unlink(missing_ok=True)
    # Not -m, which would put the current folder, and whatever lies there, before the library's own path.
    code = "import sys; sys.path[:1] = []; from sacvit.export.plans.worker import main; main(*sys.argv[1:])"
    process = subprocess.Popen(  # noqa: S603  # our own interpreter and our own code
        [sys.executable, "-c", code, str(asked), str(answered)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    began = time.monotonic()
    try:
        while True:
            try:
                status = process.wait(HEARTBEAT_S)
                break
            except subprocess.TimeoutExpired:
                if not sys.stderr.isatty():
                    report(f"  {spec['job']}: {time.monotonic() - began:.0f} s so far")
    except BaseException:
        process.kill()
        process.wait()
        raise
    if not answered.is_file():
        raise _death(spec, status)
    result: dict[str, Any] = json.loads(answered.read_text("utf-8"))
    if "done" in result:
        done: dict[str, Any] = result["done"]
        return done
    if result["fault"] == "ModuleNotFoundError":
        raise ModuleNotFoundError(result["text"], name=result["name"])
    raise _error_class(result["fault"])(result["text"])


def _error_class(name: str) -> type[SacvitError]:
    found = getattr(errors, name, None)
    return found if isinstance(found, type) and issubclass(found, SacvitError) else SacvitError


def _death(spec: dict[str, Any], status: int) -> SacvitError:
    """Of a child that left no answer. Python's own traceback stands above on stderr, if it was Python."""
    what = f"the process that was to {spec['job']} {Path(spec.get('plan') or spec.get('ee') or 'the machine').name}"
    if status == -signal.SIGKILL:
        return PlanError(f"{what} was killed: memory ran out, most likely. Close other programs, or add swap")
    if status < 0:
        return PlanError(f"{what} died of {signal.Signals(-status).name} inside TensorRT or the driver; see dmesg")
    return PlanError(f"{what} ended with status {status}")
