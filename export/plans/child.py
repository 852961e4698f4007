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


def start_worker(module: str, *words: str, **settings: Any) -> subprocess.Popen[bytes]:
    """A process of its own that runs `main` of a module of ours. settings: of Popen."""
    # Not -m, which would put the current folder, and whatever lies there, before the library's own path.
    code = f"import sys; sys.path[:1] = []; from {module} import main; main(*sys.argv[1:])"
    return subprocess.Popen(  # noqa: S603  # our own interpreter and our own code
        [sys.executable, "-c", code, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **settings
    )


def run_child(
    spec: dict[str, Any], work: Path, report: Report, module: str = "sacvit.export.plans.worker"
) -> dict[str, Any]:
    """Does one job in a process of its own, and returns what it says; its errors are raised here.

    module: whose `main` takes the paths of the job and of its result.
    """
    asked, answered = work / "job.json", work / "result.json"
    asked.write_text(json.dumps({**spec, "parent": os.getpid()}), "utf-8")
    answered.unlink(missing_ok=True)
    process = start_worker(module, str(asked), str(answered))
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
        raise PlanError(
            how_it_ended(spec["job"], Path(spec.get("plan") or spec.get("ee") or "the machine").name, status)
        )
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


def how_it_ended(job: str, what: str, status: int) -> str:
    """Of a child that left no answer. Python's own traceback stands above on stderr, if it was Python."""
    process = f"the process that was to {job} {what}"
    if status == -signal.SIGKILL:
        return f"{process} was killed: memory ran out, most likely. Close other programs, or add swap"
    if status < 0:
        return f"{process} died of {signal.Signals(-status).name} inside the backend or its driver; see dmesg"
    return f"{process} ended with status {status}"
