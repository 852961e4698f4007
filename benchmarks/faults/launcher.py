"""Starts a command many times in processes that have its modules already: a fresh interpreter takes seconds to import them."""

from __future__ import annotations

import atexit
import importlib
import multiprocessing
import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")
SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Call:
    """arguments: of the command. home: changes below it are counted. stop: the change before which it is killed, or 0.

    after_s: when it is killed at the latest. output: a file for what it prints.
    """

    arguments: list[str]
    home: Path
    output: Path
    stop: int = 0
    after_s: float = 300.0


@dataclass(frozen=True)
class Outcome:
    pid: int  # of the process, and of its session
    code: int  # as of subprocess: negative for a signal
    took_s: float
    changes: int  # of the file system; 0 where it was killed


class Launcher:
    """A process that forks the calls of one command. modules: what it imports before."""

    def __init__(self, command: str, modules: tuple[str, ...], environment: dict[str, str]) -> None:
        self._pipe, theirs = SPAWN.Pipe()
        kept = dict(os.environ)
        os.environ.update(environment)  # of the new interpreter: where it looks for modules
        self._process = SPAWN.Process(target=_serve, args=(command, modules, theirs))
        self._process.start()
        os.environ.clear()
        os.environ.update(kept)

    def call(self, call: Call) -> Outcome:
        self._pipe.send(call)
        found: Outcome = self._pipe.recv()
        return found

    def close(self) -> None:
        self._pipe.send(None)
        self._process.join()


def _serve(command: str, modules: tuple[str, ...], pipe: Connection) -> None:
    sys.modules["matplotlib"] = None  # type: ignore[assignment]  # a page takes longer than the rest, and is one file
    main = importlib.import_module(f"sacvit.commands.{command}").main
    for name in modules:
        importlib.import_module(name)
    while (call := pipe.recv()) is not None:
        began = time.monotonic()
        changes = call.output.with_suffix(".changes")
        changes.unlink(missing_ok=True)
        pid = os.fork()
        if not pid:
            _run(main, call, changes)
        code = _wait(pid, began + call.after_s)
        count = int(changes.read_text()) if changes.exists() else 0
        pipe.send(Outcome(pid, code, time.monotonic() - began, count))


def _wait(pid: int, end: float) -> int:
    """The code of a process that is killed at the time `end`."""
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _run(main: Any, call: Call, changes: Path) -> None:
    """The call, in its own process; never returns."""
    os.setsid()
    file = os.open(call.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number in (1, 2):
        os.dup2(file, number)
    count = 0

    def see(event: str, given: tuple[Any, ...]) -> None:
        nonlocal count
        is_writing = event == "open" and isinstance(given[0], str | bytes) and given[2] & WRITING
        if (
            (is_writing or event in CHANGES)
            and not isinstance(given[0], int)
            and os.fsdecode(given[0]).startswith(f"{call.home}/")
        ):
            count += 1
            if count == call.stop:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(see)
    code = 1
    try:
        code = main(call.arguments)
    except SystemExit as reason:
        code = reason.code if isinstance(reason.code, int) else 1
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    changes.write_text(str(count))
    os._exit(code)
