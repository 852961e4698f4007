"""sacvit-profile: what a run costs in time and energy, on which machine in which state; logs, comparisons, estimates."""

from __future__ import annotations

import argparse
import json
import math
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..bundle.errors import EXIT_INTERRUPTED, ConfigError, EngineError, UsageError
from ..profiles.power.open import AUTO, choices, choices_help
from .frame import new_parser, run_command, stop_on_signals

if TYPE_CHECKING:
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
    what.add_argument(
        "--provider", choices=("auto", "cpu", "cuda", "tensorrt"), default="auto", help="of .onnx engines"
    )
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
    out.add_argument("--out", type=Path, metavar="DIR", help="profile.json, report.html; called again, goes on there")
    out.add_argument("--json", action="store_true", help="the result as JSON on stdout instead of the summary")
    out.add_argument("--export-times", "--exportTimes", type=Path, metavar="FILE.json", help="trtexec's file of passes")
    other = parser.add_argument_group("without measuring")
    other.add_argument(
        "--compare", type=Path, nargs=2, metavar=("A", "B"), help="two --out folders or their profile.json"
    )
    other.add_argument(
        "--estimate",
        metavar="BOARD",
        help="a bound for a board that is not here: orin-nano-8gb, or with its mode orin-nano-8gb:15W",
    )
    other.add_argument("--tegrastats-log", type=Path, metavar="FILE", help="what tegrastats printed, JetPack 3 to 7.2")
    other.add_argument(
        "--report", type=Path, metavar="FILE.html", help="of --compare and --tegrastats-log: as a page too"
    )
    return parser


def profile(options: argparse.Namespace) -> int:
    chosen = [name for name in ("compare", "estimate", "tegrastats_log") if getattr(options, name) is not None]
    if len(chosen) > 1:
        raise UsageError(f"one at a time: {', '.join('--' + name.replace('_', '-') for name in chosen)}")
    if options.report is not None and chosen not in (["compare"], ["tegrastats_log"]):
        raise UsageError("--report is for --compare and --tegrastats-log; a measurement writes its own into --out DIR")
    if options.report is not None:
        from ..bundle.files import require_writable

        require_writable(options.report, "--report", ".html")
    if options.tegrastats_log is not None:
        return tegrastats_log(options)
    if options.compare is not None:
        return compare(options)
    if options.engine is None:
        raise UsageError("give --engine EE SAC to measure, or --compare, --estimate or --tegrastats-log; see --help")
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
        if options.out is not None:
            from ..profiles.reports.profile_page import write_report

            write_report(store, result)
            progress.tell(f"written: {folder / 'profile.json'}, {folder / 'report.html'}")
        if options.json:
            print(json.dumps(result, indent=1))
        else:
            show(summary_lines(result))
    return EXIT_INTERRUPTED if interrupted else 0


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


def compare(options: argparse.Namespace) -> int:
    from ..profiles.reports.comparison import compare_lines, read_result, write_comparison

    first, second = (read_result(path) for path in options.compare)
    show(compare_lines(first, second))
    if options.report is not None:
        write_comparison(first, second, options.report)
    return 0


def show(lines: Sequence[str]) -> None:
    """Prints lines that may hold words of others: without what would steer a terminal."""
    for line in lines:
        print("".join(letter if letter.isprintable() else "?" for letter in line))


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


def tegrastats_log(options: argparse.Namespace) -> int:
    from ..profiles.reports.tegrastats_log import json_lines, read_log, summary_lines, write_log_report

    samples = read_log(options.tegrastats_log)
    for line in json_lines(options.tegrastats_log, samples) if options.json else summary_lines(samples):
        print(line)
    if options.report is not None:
        write_log_report(options.tegrastats_log, samples, options.report)
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
