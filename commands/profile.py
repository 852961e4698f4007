"""sacvit-profile: what a run costs in time and energy, on which machine in which state; estimates for other boards."""

from __future__ import annotations

import argparse
import json
import math
import platform
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..bundle.errors import EXIT_INTERRUPTED, ConfigError, EngineError, UsageError
from ..machine.terminal import terminal_safe
from ..profiles.power.open import AUTO, choices, choices_help
from ..runtime.engines.options import EngineOptions
from .frame import new_parser, run_command, stop_on_signals
from .options import add_options

if TYPE_CHECKING:
    from ..profiles.results.profile_shape import Profile
    from ..profiles.timing.subject import Request

MOST_THRESHOLDS = 101
PLAIN_PROGRESS_S = 10.0
DURATION_S = 30.0


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser(
        "sacvit-profile", "Latency by path, energy by rail, and the state of the machine that they were measured on."
    )
    what = parser.add_argument_group("what is measured")
    what.add_argument("--engine", type=Path, nargs=2, metavar=("EE", "SAC"), help="the two files of a bundle")
    what.add_argument("--plain", type=Path, metavar="FILE", help="the plain ViT, for break-even: sacvit-export --plain")
    what.add_argument("--source", help="images, as sacvit-run --camera takes them (default: those in the bundle)")
    what.add_argument(
        "--threshold", metavar="ETA", help="0.7, a list 0.5,0.7 or a range 0.4:0.9:0.05 (default: stored)"
    )
    what.add_argument("--batch", type=int, help="images a pass (default: 1; offline: the most)")
    add_options(parser, EngineOptions)
    how = parser.add_argument_group("how")
    length = how.add_mutually_exclusive_group()
    length.add_argument(
        "--duration-s",
        "--duration",
        type=float,
        metavar="S",
        help="of each contender, in 3 windows (default: 30; a preset: 600)",
    )
    length.add_argument("--iterations", type=int, metavar="N", help="passes of each contender instead")
    how.add_argument("--warmup-ms", "--warmUp", type=float, default=200.0, metavar="MS", help="default: %(default)g")
    how.add_argument("--power", choices=choices(), default=AUTO, help=f"Read power from this source. {choices_help()}.")
    how.add_argument("--preset", choices=("single-stream", "offline"), help="load by MLPerf's rules for this scenario")
    how.add_argument("--power-modes", metavar="IDS", help="sweep nvpmodel modes, as in 0,1,2, and restore the old one")
    how.add_argument("--layers", action="store_true", help="times by layer too, from passes of their own")
    out = parser.add_argument_group("what comes out")
    out.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write profile.json, its samples and, where sacvit[report] is installed, report.html here; a second call goes on",
    )
    out.add_argument("--json", action="store_true", help="the result as JSON on stdout instead of the summary")
    out.add_argument("--export-times", "--exportTimes", type=Path, metavar="FILE.json", help="trtexec's file of passes")
    other = parser.add_argument_group("without measuring")
    other.add_argument(
        "--estimate",
        metavar="BOARD",
        help="a bound for a board that is not here: orin-nano-8gb, or with its mode orin-nano-8gb:15W",
    )
    return parser


def profile(options: argparse.Namespace) -> int:
    if options.engine is None:
        raise UsageError("give --engine EE SAC; see --help")
    return estimate(options) if options.estimate is not None else measure(options)


def measure(options: argparse.Namespace) -> int:
    from ..bundle.files import require_writable

    request = request_of(options)
    if request.export_times is not None:
        require_writable(request.export_times, "--export-times", ".json")
    from ..bundle.folders import locked_folder
    from ..profiles.profile import profile_pair
    from ..profiles.reports.text import summary_lines
    from ..profiles.results.result import summarise
    from ..profiles.results.result_files import PROFILE_NAME, write_result

    stop_on_signals()
    progress = Progress()
    interrupted = False
    with (
        tempfile.TemporaryDirectory(prefix="sacvit-") as temporary,
        locked_folder(options.out or Path(temporary)) as folder,
    ):
        try:
            store = profile_pair(request, folder, progress.report, progress.tell)
        except KeyboardInterrupt:
            from ..profiles.timing.store import read_store

            interrupted = True
            found = read_store(folder)
            if found is None or not found.of("window"):
                raise
            store = found
            progress.tell("interrupted: what follows is of the windows that were measured")
        finally:
            progress.close()
        result = summarise(store)
        result |= {"host": platform.node(), "top1": tuned_top1(options.engine[0], result["stored_threshold"])}
        if options.out is not None:
            write_result(result, folder / PROFILE_NAME)
            progress.tell(f"written: {folder / PROFILE_NAME}")
            progress.tell(write_page(folder))
        print(
            json.dumps(result, indent=1)
            if options.json
            else "\n".join(map(terminal_safe, summary_lines(cast("Profile", result))))
        )
    return EXIT_INTERRUPTED if interrupted else 0


def write_page(folder: Path) -> str:
    """The page of the run, where this machine can make one; what to tell the user."""
    from ..profiles.reports.page import missing_extra
    from ..profiles.reports.profile_page import REPORT_NAME, write_profile_page

    if missing_extra() is not None:
        return f"for the page, on any machine with sacvit[report]: sacvit-report {shlex.quote(str(folder))}"
    write_profile_page(folder, folder / REPORT_NAME)
    return f"written: {folder / REPORT_NAME}"


def tuned_top1(engine: Path, threshold: float) -> dict[str, Any] | None:
    """What sacvit-tune found for this engine at this threshold, from the manifest beside it; None where it was not tuned."""
    from ..bundle.stored_gate import own_manifest
    from ..runtime.engines.backends import read_record

    record = read_record(engine)
    try:
        entry = own_manifest(engine, record).tuned.get(record.precision)
    except UsageError:
        return None
    if entry is None or entry.threshold != threshold or "top1" not in entry.report:
        return None
    return {"value": entry.report["top1"], "threshold": threshold, "data": entry.data.get("report")}


def request_of(options: argparse.Namespace) -> Request:
    """The options, checked as far as that needs no engine. Raises UsageError."""
    from ..profiles.conditions.power_modes import parse_mode_list
    from ..profiles.timing.scenarios import SCENARIOS
    from ..profiles.timing.subject import Request
    from ..runtime.sources.address import without_password

    for name in ("duration_s", "warmup_ms"):
        value = getattr(options, name)
        if value is not None and (not 0 <= value < math.inf or (name == "duration_s" and not value)):
            raise UsageError(f"--{name.replace('_', '-')} {value:g}: give a number above 0")
    if options.iterations is not None and options.iterations < 1:
        raise UsageError(f"--iterations {options.iterations}: give 1 or more")
    scenario = None if options.preset is None else SCENARIOS[options.preset]
    if scenario is not None and options.iterations is not None:
        raise UsageError("--preset says how long a run lasts; leave --iterations out")
    if scenario is not None and not scenario.is_batched and options.batch not in (None, 1):
        raise UsageError(f"--preset {options.preset} asks one image at a time; leave --batch out")
    return Request(
        ee=options.engine[0],
        sac=options.engine[1],
        plain=options.plain,
        source=options.source,
        thresholds=None if options.threshold is None else parse_thresholds(options.threshold),
        batch=0 if options.batch is None else require_batch(options.batch),
        provider=options.provider,
        duration_s=options.duration_s or (DURATION_S if scenario is None else scenario.duration_s),
        iterations=options.iterations,
        warmup_ms=options.warmup_ms,
        power=options.power,
        scenario=options.preset,
        layers=options.layers,
        power_modes=[] if options.power_modes is None else parse_mode_list(options.power_modes),
        export_times=options.export_times,
        command=shlex.join(["sacvit-profile", *(without_password(word) for word in sys.argv[1:])]),
    )


def require_batch(batch: int) -> int:
    if batch < 1:
        raise UsageError(f"--batch {batch}: give 1 or more")
    return batch


def parse_thresholds(text: str) -> list[float]:
    """[0.4, 0.45, ... 0.9] for "0.4:0.9:0.05", [0.5, 0.7] for "0.5,0.7". Raises UsageError."""
    number = r"(?:\d+\.?\d*|\.\d+)"
    if found := re.fullmatch(rf"({number}):({number}):({number})", text):
        first, last, step = map(float, found.groups())
        count = int((last - first) / step + 1e-9) + 1 if step > 0 and last >= first else 0
        if not 1 <= count <= MOST_THRESHOLDS:
            raise UsageError(f"--threshold {text}: from:to:step gives {count} values; 1 to {MOST_THRESHOLDS} can be")
        values = [round(first + place * step, 9) for place in range(count)]
    elif re.fullmatch(rf"{number}(,{number})*", text):
        values = list(dict.fromkeys(float(part) for part in text.split(",")))
    else:
        raise UsageError(f"--threshold {text}: give a number, a list 0.5,0.7 or a range 0.4:0.9:0.05")
    for value in values:
        if not 0 <= value <= 1:
            raise UsageError(f"--threshold {text}: {value:g} does not lie in [0, 1]")
    return values


def estimate(options: argparse.Namespace) -> int:
    from ..model.config import ModelConfig
    from ..model.cost import DERIVED_EXIT_RATE, count_cost
    from ..profiles.estimates.boards import find_board
    from ..profiles.estimates.roofline import estimate as estimate_pair
    from ..profiles.estimates.roofline import estimate_lines
    from ..runtime.engines.backends import read_record

    name, _, mode = options.estimate.partition(":")
    board = find_board(name)
    record = read_record(options.engine[0])
    try:
        config = ModelConfig.from_dict(record.config)
    except ConfigError as reason:
        raise EngineError(f"{options.engine[0]} has a damaged sacvit record: {reason}. Export it again") from None
    found = estimate_pair(
        count_cost(config), board, board.mode(mode or None), record.precision, options.batch or 1, DERIVED_EXIT_RATE
    )
    print(json.dumps(found.to_json(), indent=1) if options.json else "\n".join(estimate_lines(found)))
    return 0


class Progress:
    """What is measured now: a line that changes on a terminal, lines now and then elsewhere."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._told = -math.inf
        self._width = 0

    def report(self, what: str, duration_s: float) -> None:
        text = f"{what} ({duration_s:.1f} s)"
        if self._is_terminal:
            columns = max(shutil.get_terminal_size().columns - 1, 20)
            print(f"\r{text[:columns]:<{min(self._width, columns)}}", end="", file=sys.stderr, flush=True)
            self._width = len(text)
        elif time.monotonic() - self._told > PLAIN_PROGRESS_S:
            self._told = time.monotonic()
            print(text, file=sys.stderr, flush=True)

    def tell(self, line: str) -> None:
        self.close()
        print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._is_terminal and self._width:
            print(f"\r{'':<{self._width}}\r", end="", file=sys.stderr, flush=True)
            self._width = 0


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), profile, arguments)
