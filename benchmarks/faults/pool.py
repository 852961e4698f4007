"""Worker processes and what became of every input, crashes and hangs too."""

from __future__ import annotations

import multiprocessing
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .kind import Kind, draw
from .work import Task, folder_name, make_sounds, work

LIMIT_S = 30.0  # of one input
START_S = 300.0  # of a worker: imports, and the sound inputs
GOOD = ("refused", "same", "accepted")
MOST_KEPT = 20  # bad inputs of a kind that are saved
SPAWN = multiprocessing.get_context("spawn")


@dataclass
class Tally:
    """The verdicts of a kind's inputs. faults: the details of the bad ones."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[int, str, str]] = field(default_factory=list)

    @property
    def bad(self) -> int:
        return sum(count for verdict, count in self.counts.items() if verdict not in GOOD)


class Pool:
    """Reads the inputs of one kind after another, each in a worker that is replaced when an input ends it."""

    def __init__(self, home: Path, kept: Path, seed: int) -> None:
        self.home, self.kept, self.seed = home, kept, seed

    def prepare(self, kinds: list[Kind]) -> None:
        """Makes the sound files, in a process of its own: its threads would not survive in others."""
        maker = SPAWN.Process(target=make_sounds, args=(self.home / "sound", [kind.name for kind in kinds]))
        maker.start()
        maker.join()
        if maker.exitcode:
            raise SystemExit("the sound inputs cannot be made")

    def run(self, kind: Kind, first: int, count: int, say: Callable[[str], None]) -> Tally:
        tally, numbers = Tally(), range(first, first + count)
        while numbers:
            done = self._run_worker(kind, numbers, tally, say)
            numbers = numbers[done:]
        return tally

    def _run_worker(self, kind: Kind, numbers: range, tally: Tally, say: Callable[[str], None]) -> int:
        """How many inputs have their verdicts when the worker ends."""
        ours, theirs = SPAWN.Pipe()
        yard = self.home / "yard"
        task = Task(kind.name, self.home / "sound", yard, self.seed, numbers)
        worker = SPAWN.Process(target=work, args=(task, theirs), daemon=True)
        worker.start()
        theirs.close()
        begun: int | None = None
        done, limit, since = 0, START_S, time.monotonic()
        while True:
            if not ours.poll(max(0.0, since + limit - time.monotonic())):
                worker.kill()
                worker.join()
                verdict, detail = "hang", f"no answer within {limit:g} s"
            else:
                try:
                    number, verdict, detail = ours.recv()
                except EOFError:
                    worker.join()
                    verdict, detail = "crash", f"the process ended with {worker.exitcode}"
                else:
                    if verdict == "done":
                        worker.join()
                        break
                    if verdict == "failed":
                        raise SystemExit(f"{kind.name}: the worker failed outside of an input:\n{detail}")
                    since, limit = time.monotonic(), LIMIT_S
                    if verdict is None:
                        begun = number
                        continue
                    done += 1
                    self._note(kind, number, verdict, detail, tally, say)
                    begun = None
                    continue
            if begun is None:
                raise SystemExit(f"{kind.name}: the worker failed outside of an input: {detail}")
            done += 1
            self._note(kind, begun, verdict, detail, tally, say)
            break
        ours.close()
        shutil.rmtree(yard, ignore_errors=True)
        return done

    def _note(
        self, kind: Kind, number: int, verdict: str, detail: str, tally: Tally, say: Callable[[str], None]
    ) -> None:
        tally.counts[verdict] += 1
        if verdict in GOOD:
            return
        tally.faults.append((number, verdict, detail))
        if len(tally.faults) <= MOST_KEPT:
            name, content = draw(kind, self.home / "sound" / folder_name(kind), self.seed, number)
            folder = self.kept / f"{folder_name(kind)}-seed{self.seed}-{number}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name.name).write_bytes(content)
            (folder / "verdict.txt").write_text(f"{verdict}\n{name}\n{detail}\n", "utf-8", "backslashreplace")
            last = detail.strip().splitlines()[-1] if detail.strip() else ""
            say(f"{kind.name}, input {number}: {verdict}: {last!r:.200} (kept in {folder})")
