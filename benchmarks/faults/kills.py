"""kill -9 of a command at a random moment, and what it leaves: the old or the new whole, and a command that goes on.

Half of the kills come at a random time. The others come at a random change of the file system below the command's folder: a
file that is opened for writing, renamed or removed. Those moments are short, and a random time rarely hits them.
"""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .commands import Command, environment_of
from .launcher import Call, Launcher, Outcome

LIMIT_S = 300.0  # of one call
CHILDREN_S = 20.0  # until what a killed command started has ended by itself


class Killed:
    """A command that is killed again and again. Every kill begins with the same folder."""

    def __init__(self, command: Command, home: Path, seed: int) -> None:
        self.command, self.sound, self.home = command, home / f"{command.name}-sound", home / command.name
        self.output = home / f"{command.name}-output"
        self.launcher = Launcher(command.name, command.modules, environment_of(command, self.home))
        self.chance = random.Random(f"{seed} {command.name}")
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []

    def prepare(self) -> None:
        """Makes the folder, and learns what the command changes, how long it takes, and what it leaves."""
        shutil.rmtree(self.home, ignore_errors=True)  # the launcher's libraries may have made a cache there
        self.home.mkdir(parents=True)
        (self.home / "tmp").mkdir()
        self.command.prepare(self.home)
        if self.command.before is not None:
            self._finish(self.command.before(self.home))
        shutil.copytree(self.home, self.sound, symlinks=True)
        self.old = self._meaning()
        done = self._finish(self.command.arguments(self.home))
        self.took_s, self.changes = done.took_s, done.changes
        self.new = self._meaning()

    def kill(self, number: int, say: Callable[[str], None]) -> None:
        """One kill, and its verdict."""
        shutil.rmtree(self.home)
        shutil.copytree(self.sound, self.home, symlinks=True)
        stop = self.chance.randint(1, self.changes) if number % 2 else 0
        after_s = self.chance.uniform(0.05, 1.1) * self.took_s
        arguments = self.command.arguments(self.home)
        done = self._call(arguments, stop) if stop else self._call(arguments, after_s=after_s)
        fault = self._fault(done)
        moment = f"change {stop} of {self.changes}" if stop else f"{after_s:.2f} s of {self.took_s:.2f} s"
        self.counts["wrong" if fault else "killed" if done.code == -signal.SIGKILL else "was finished"] += 1
        if fault:
            self.faults.append(f"{self.command.name} killed at {moment}: {fault}")
            say(self.faults[-1])

    def _fault(self, killed: Outcome) -> str | None:
        """What is wrong after a kill; None where all is well."""
        from sacvit.bundle.errors import SacvitError
        from sacvit.bundle.folders import NOTE_NAME

        if left := self._children(killed.pid):
            return f"its children {left} went on for {CHILDREN_S:g} s"
        is_placing = any(self.home.rglob(NOTE_NAME))
        try:
            found = self._meaning()
            old = found if self.old is None else self.old
            if any(part not in known for part, *known in zip(found, old, self.new, strict=True)):
                return f"a mixture is accepted: {found!r:.500}"
        except SacvitError as reason:
            # The next command finishes what the note names; until then the folder has to be refused.
            if not is_placing and self.old is not None:
                return f"neither the old nor the new is there: {reason}"
        done = self._call(self.command.call_again(self.home))
        if done.code:
            return f"the next call ended with {done.code}: {self.output.read_text('utf-8', 'replace')[-1500:]}"
        if (found := self._meaning()) != self.new:
            return f"the next call left {found!r:.300}, expected {self.new!r:.300}"
        left = [
            path.name for path in self.home.rglob("*") if path.name.endswith(".part") or path.name.startswith(".sacvit")
        ]
        return f"the next call left {left}" if left else None

    def _meaning(self) -> list[Any] | None:
        """None where there is no output yet."""
        from sacvit.bundle.errors import SacvitError

        try:
            return self.command.meaning(self.home)
        except SacvitError:
            if not hasattr(self, "old"):
                return None
            raise

    def _call(self, arguments: list[str], stop: int = 0, after_s: float = LIMIT_S) -> Outcome:
        return self.launcher.call(Call(arguments, self.home, self.output, stop, after_s))

    def _finish(self, arguments: list[str]) -> Outcome:
        done = self._call(arguments)
        if done.code:
            raise SystemExit(
                f"sacvit-{self.command.name} ended with {done.code}: {self.output.read_text('utf-8', 'replace')}"
            )
        return done

    def _children(self, session: int) -> list[int]:
        """Processes of the command's session that are still there after CHILDREN_S."""
        end = time.monotonic() + CHILDREN_S
        while (found := _of_session(session)) and time.monotonic() < end:
            time.sleep(0.1)
        return found


def _of_session(session: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, own = path.read_text("utf-8", "replace").rpartition(")")[2].split()[:4]
        except OSError:
            continue  # it has ended meanwhile
        if int(own) == session and state != "Z":
            found.append(int(path.parent.name))
    return found
