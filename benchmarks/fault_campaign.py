"""Damages every kind of file, picture, video and message that sacvit reads, and kills its commands at random moments.

    python benchmarks/fault_campaign.py --inputs 100000 --kills 200 --seed 1
    python benchmarks/fault_campaign.py --kind picture --kind video --inputs 20000 --kills 0

Each input is read by our own reader in a worker process with a limit on time and memory. Wrong are: a traceback, a crash, a
hang, too much memory, a file outside of the working folder, code of the input that is run, an escape code that reaches the
terminal, and a damaged file that is taken with another meaning although a checksum covers it. After each kill the output
folder must be the old or the new whole, and the same command must succeed and clean up. Bad inputs are kept with their seed.
The exit code is 1 when anything is wrong. A real server over HTTP and gRPC is the matter of benchmarks/fuzz_serving.py.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

from faults.commands import COMMANDS
from faults.kills import Killed
from faults.pool import GOOD, Pool, Tally
from faults.table import KINDS


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def print_table(tallies: dict[str, Tally]) -> None:
    columns = [*GOOD, "wrong accept", "traceback", "crash", "hang", "memory", "outside", "code run", "raw text"]
    print(f"{'kind':<44}{'inputs':>8}" + "".join(f"{column:>13}" for column in columns))
    total: Counter[str] = Counter()
    for name, tally in tallies.items():
        total += tally.counts
        cells = "".join(f"{tally.counts[column]:>13}" for column in columns)
        print(f"{name:<44}{tally.counts.total():>8}{cells}")
    print(f"{'all':<44}{total.total():>8}" + "".join(f"{total[column]:>13}" for column in columns))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [kind.name for kind in KINDS]
    parser.add_argument("--inputs", type=int, default=10_000, help="Inputs of all kinds together.")
    parser.add_argument("--kills", type=int, default=20, help="Kills of all commands together.")
    parser.add_argument("--seed", type=int, default=0, help="Draw other inputs and other moments.")
    parser.add_argument("--first", type=int, default=0, help="Number of the first input of each kind.")
    parser.add_argument("--kind", action="append", metavar="NAME", help=f"Only this kind. One of: {'; '.join(names)}.")
    parser.add_argument(
        "--command", action="append", choices=[one.name for one in COMMANDS], help="Kill only this one."
    )
    parser.add_argument("--kept", type=Path, default=Path("bad-inputs"), help="Folder for bad inputs.")
    options = parser.parse_args()
    if options.kind and (unknown := [name for name in options.kind if name not in names]):
        parser.error(f"no kind {unknown[0]!r}")
    chosen = [kind for kind in KINDS if not options.kind or kind.name in options.kind]
    whole, began = sum(kind.share for kind in chosen), time.monotonic()
    tallies: dict[str, Tally] = {}
    with tempfile.TemporaryDirectory(prefix="sacvit-faults-") as name:
        pool = Pool(Path(name), options.kept.resolve(), options.seed)
        if options.inputs:
            pool.prepare(chosen)
            for kind in chosen:
                count, since = max(1, round(options.inputs * kind.share / whole)), time.monotonic()
                tallies[kind.name] = pool.run(kind, options.first, count, say)
                say(f"{kind.name}: {dict(tallies[kind.name].counts)} in {time.monotonic() - since:.0f} s")
        commands = [one for one in COMMANDS if not options.command or one.name in options.command]
        killed: list[Killed] = []
        for command in commands if options.kills else ():
            killed.append(one := Killed(command, Path(name), options.seed))
            one.prepare()
            for number in range(-(-options.kills // len(commands))):
                one.kill(number, say)
            one.launcher.close()
            say(f"sacvit-{one.command.name}: {dict(one.counts)}")
    print(f"seed {options.seed}, {time.monotonic() - began:.0f} s")
    print_table(tallies)
    for one in killed:
        print(f"sacvit-{one.command.name}: {dict(one.counts)} of {one.counts.total()} kills")
    return int(any(tally.bad for tally in tallies.values()) or any(one.faults for one in killed))


if __name__ == "__main__":
    sys.exit(main())
