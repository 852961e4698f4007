"""Where a worker reads: a folder of its own, a watch on what it does outside of it, and what it says and takes."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sacvit.machine.jetson import process_memory_mib

from .bundle_kinds import CANARY

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
RUNS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pty.spawn")
OURS = ("nvpmodel", "tegrastats")  # programs that sacvit-profile starts itself


class Yard:
    """A place of its own for a worker: its files, its working directory, and what it may not do."""

    def __init__(self, home: Path) -> None:
        self.home, self.work, self.idle = home, home / "work", home / "idle"
        for folder in (self.work, self.idle):
            folder.mkdir(parents=True, exist_ok=True)
        os.environ.update(HOME=str(self.idle), TMPDIR=str(self.work), XDG_CACHE_HOME=str(self.work))
        os.chdir(self.idle)
        self.events: list[str] = []
        self.is_watched = False
        sys.addaudithook(self._see)

    def _see(self, event: str, given: tuple[Any, ...]) -> None:
        if not self.is_watched:
            return
        if event in RUNS and given[0] not in OURS:
            self.events.append(f"code run: {event} {given!r:.200}")
        elif event == "open" and isinstance(given[0], str | bytes | os.PathLike) and given[2] & WRITING:
            self._require_inside(os.fsdecode(given[0]))
        elif event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.link"):
            for path in given[:2]:
                # A relative one is inside of a folder that is open: shutil.rmtree works so.
                if isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path).startswith("/"):
                    self._require_inside(os.fsdecode(path))

    def _require_inside(self, path: str) -> None:
        if not os.path.abspath(path).startswith((f"{self.work}/", "/dev/null")):  # noqa: PTH100  # not resolved
            self.events.append(f"outside: {path!r:.200}")

    def take_events(self) -> list[str]:
        """What was seen since the last call: each begins with its verdict. Files in the working directory are removed."""
        found = [*self.events]
        self.events.clear()
        for path in self.idle.iterdir():
            found.append(f"code run: {path} is there" if path.name == CANARY else f"outside: {path}")
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return found


@contextlib.contextmanager
def taken_output(home: Path) -> Iterator[Any]:
    """What reaches the terminal meanwhile, C libraries' texts too: a function that gives it and begins anew."""
    path = home / "output"
    with path.open("w+b", buffering=0) as file:
        kept = os.dup(1), os.dup(2)
        for number in (1, 2):
            os.dup2(file.fileno(), number)
        text = io.TextIOWrapper(io.FileIO(os.dup(1), "w"), "utf-8", "backslashreplace", write_through=True)

        def take() -> str:
            file.seek(0)
            content = file.read()
            file.seek(0)
            file.truncate(0)
            return content.decode("utf-8", "surrogateescape")

        with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
            yield take
        for number, old in zip((1, 2), kept, strict=True):
            os.dup2(old, number)


def peak_mib() -> int:
    found = process_memory_mib()
    return 0 if found is None else int(found[1])


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")
