"""A worker process: reads damaged inputs one after the other, within limits, and says what became of each.

Its parent notices a crash by the process's end and a hang by the time; both are then the fault of the input that was begun.
"""

from __future__ import annotations

import os
import resource
import shutil
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from .kind import Kind, draw
from .table import KINDS
from .yard import Yard, forget_peak, peak_mib, taken_output

ROOM_BYTES = 6 << 30  # of address space: beyond, the system refuses
DEFECT = "This is a defect of sacvit"  # in the message of a command that met an exception of no class of ours
MOST_MEMORY_MIB = 1200  # that one input may take: a picture of the largest size that is allowed has 805 MB


@dataclass(frozen=True)
class Task:
    """The inputs `numbers` of a kind. sounds: the folders of `make_sounds`; home: for the worker's own files."""

    kind: str
    sounds: Path
    home: Path
    seed: int
    numbers: range


def work(task: Task, pipe: Connection) -> None:
    """Reads the inputs; sends (number, None, "") before each, and (number, verdict, detail) after it."""
    try:
        _work(task, pipe)
        pipe.send((None, "done", ""))
    except BaseException:
        pipe.send((None, "failed", traceback.format_exc()))


def _work(task: Task, pipe: Connection) -> None:
    from sacvit.commands.frame import set_up_logging
    from sacvit.images.opencv import silence_opencv

    silence_opencv()
    kind = next(kind for kind in KINDS if kind.name == task.kind)
    yard = Yard(task.home)
    reader = Reader(kind, task.sounds / folder_name(kind), yard.work / "folder")
    with taken_output(task.home) as take:
        set_up_logging(False)
        meanings = {damaged: reader.meaning(damaged) for damaged in reader.names()}
        resource.setrlimit(resource.RLIMIT_AS, (ROOM_BYTES + _address_space(), resource.RLIM_INFINITY))
        take()
        for number in task.numbers:
            damaged, content = draw(kind, reader.sound, task.seed, number)
            reader.put(damaged, content)
            pipe.send((number, None, ""))
            forget_peak()
            before, yard.is_watched = peak_mib(), True
            verdict, detail = reader.verdict(damaged, meanings[damaged])
            yard.is_watched = False
            taken, output, events = peak_mib() - before, take(), yard.take_events()
            raw = [letter for letter in output if not letter.isprintable() and letter != "\n"]
            if events:
                verdict, detail = events[0].partition(":")[0], "\n".join(events)
            elif DEFECT in output:
                verdict, detail = "traceback", output[-3000:]
            elif raw and verdict != "traceback":
                verdict, detail = "raw text", f"{raw[:5]} in {output[:1500]!r}"
            elif taken > MOST_MEMORY_MIB:
                verdict, detail = "memory", f"{taken} MiB"
            pipe.send((number, verdict, detail))


class Reader:
    """A kind's reader over a folder whose files are sound but for one."""

    def __init__(self, kind: Kind, sound: Path, fresh: Path) -> None:
        self.kind, self.sound, self.fresh = kind, sound, fresh
        self.damaged: Path | None = None

    def names(self) -> list[Path]:
        """Of the files that may be damaged."""
        found = {path for pattern in self.kind.files for path in self.sound.glob(pattern)}
        return sorted(path.relative_to(self.sound) for path in found)

    def put(self, damaged: Path, content: bytes | None) -> None:
        """content: of that file; None for the sound one."""
        if self.kind.writes or not self.fresh.exists():
            shutil.rmtree(self.fresh, ignore_errors=True)
            shutil.copytree(self.sound, self.fresh)
        elif self.damaged is not None:
            shutil.copy2(self.sound / self.damaged, self.fresh / self.damaged)
        if content is not None:
            (self.fresh / damaged).write_bytes(content)
        self.damaged = damaged

    def meaning(self, damaged: Path) -> Any:
        """Of the sound file; None for one that is refused, as a BMP is by a server."""
        from sacvit.bundle.errors import SacvitError

        self.put(damaged, None)
        try:
            return self.kind.read(self.fresh, self.fresh / damaged)
        except SacvitError:
            return None

    def verdict(self, damaged: Path, meaning: Any) -> tuple[str, str]:
        """What became of the input that was put there, and the reason."""
        from sacvit.bundle.errors import SacvitError
        from sacvit.commands.frame import explain, print_safe

        try:
            found = self.kind.read(self.fresh, self.fresh / damaged)
        except SacvitError as reason:
            print_safe(f"sacvit: {explain(reason)[1]}")
            return "refused", str(reason)
        except BaseException as reason:
            return "traceback", "".join(traceback.format_exception(reason))[-3000:]
        if found == meaning:
            return "same", ""
        return "wrong accept" if self.kind.checked else "accepted", f"{meaning!r:.700}\nbecame\n{found!r:.700}"


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def make_sounds(sounds: Path, names: list[str]) -> None:
    """The sound files of the kinds, each in a folder of its own."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    for kind in KINDS:
        folder = sounds / folder_name(kind)
        if kind.name in names and not folder.exists():
            folder.mkdir(parents=True)
            kind.make(folder)


def folder_name(kind: Kind) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in kind.name)
