"""sacvit-report: pages of what sacvit-profile, sacvit-tune and sacvit-run measured, of two of them, and of tegrastats logs."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ..bundle.errors import SacvitError, UsageError
from ..machine.terminal import terminal_safe
from .frame import new_parser, run_command
from .hints import require_effect

logger = logging.getLogger(__name__)


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser(
        "sacvit-report",
        "Write one HTML page of a profile, a tune run, the power of a sacvit-run or a tegrastats log, or of two runs side by"
        " side, and print its summary. It runs on any machine: copy the files there.",
    )
    parser.add_argument(
        "paths", type=Path, nargs="+", metavar="DIR",
        help="a folder that sacvit-profile --out or sacvit-tune --out wrote, its .json, a file of sacvit-run --power-log or the"
        " lines of its --json, or a log of tegrastats (JetPack 3 to 7.2); give two profiles, or several tune runs, to compare"
        " them, or a run and a log of tegrastats that was taken beside it, to join them",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, metavar="FILE.html",
        help="write the page to this file (default: report.html or tune.html in DIR; comparison.html or LOG.html here)",
    )  # fmt: skip
    parser.add_argument(
        "--text", action="store_true", help="print the summary only; this needs neither matplotlib nor jinja2"
    )
    parser.add_argument(
        "--json", action="store_true", help="print the samples of a tegrastats log as JSON lines, and no page"
    )
    parser.add_argument(
        "--utc-offset", metavar="+HH:MM",
        help="local time minus UTC where the tegrastats log was taken that is joined with a run (default: as in the run's"
        " --power-log, else the zone of this computer); write --utc-offset=-05:00 with an equals sign",
    )  # fmt: skip
    return parser


def report(options: argparse.Namespace) -> int:
    from ..bundle.files import require_writable
    from ..profiles.reports.page import missing_extra
    from ..profiles.results.result_files import kind_of

    if options.text:
        require_effect(build_parser(), options, "--text", ("paths", "json", "utc_offset"))
    kinds = [kind_of(path) for path in options.paths]
    joined = sorted(kinds) == ["log", "run"]
    alone = {"log": 1, "run": 1, "profile": 2, "tune": len(kinds)}
    if not joined and (len(set(kinds)) > 1 or len(kinds) > alone[kinds[0]]):
        found = ", ".join(f"{path} ({kind})" for path, kind in zip(options.paths, kinds, strict=True))
        raise UsageError(f"give one path, two profiles, several tune runs, or a run and a log; found {found}")
    if options.utc_offset is not None and not joined:
        raise UsageError("--utc-offset is for a run and a log of tegrastats that are joined; give both")
    if options.json and kinds != ["log"]:
        raise UsageError(f"--json is for a tegrastats log; {options.paths[0]} is JSON already")
    if options.out is not None and not (options.text or options.json):
        require_writable(options.out, "--out", ".html")
    if "run" in kinds:
        by_kind = dict(zip(kinds, options.paths, strict=True))
        lines, write, default = _run(by_kind["run"], by_kind.get("log"), options.utc_offset)
    else:
        lines, write, default = (_one if len(kinds) == 1 else _several)(options.paths, kinds[0], options.json)
    for line in lines:
        print(terminal_safe(line))
    if options.text or options.json:
        return 0
    missing = missing_extra()
    if missing is not None:
        raise SacvitError(f"no page was written: {missing}. --text prints the summary without it")
    out = options.out or default
    write(out)
    logger.info("written: %s", out)
    return 0


Parts = tuple[Iterable[str], Callable[[Path], None], Path]  # the summary, the page's writer and path


def _one(paths: Sequence[Path], kind: str, as_json: bool) -> Parts:
    from ..profiles.reports import profile_page, tegrastats_log, text, tune_page, tune_text
    from ..profiles.results.result_files import read_profile, read_tune

    path = paths[0]
    folder = path if path.is_dir() else path.parent
    if kind == "profile":
        write = profile_page.write_profile_page
        return text.summary_lines(read_profile(path)), lambda out: write(path, out), folder / profile_page.REPORT_NAME
    if kind == "tune":
        write = tune_page.write_tune_page
        return tune_text.summary_lines(read_tune(path)), lambda out: write(path, out), folder / tune_page.PAGE_NAME
    samples = tegrastats_log.read_log(path)
    lines = tegrastats_log.json_lines(path, samples) if as_json else tegrastats_log.summary_lines(samples)
    return lines, lambda out: tegrastats_log.write_log_page(path, out), Path(f"{path.stem}.html")


def _run(path: Path, log: Path | None, utc_offset: str | None) -> Parts:
    from ..profiles.beside_run.join_tegrastats import join_log, parse_utc_offset
    from ..profiles.beside_run.page import run_lines, write_run_page
    from ..profiles.beside_run.read_run import read_recorded

    offset_s = None if utc_offset is None else parse_utc_offset(utc_offset)
    run = read_recorded(path)
    if log is not None:
        join_log(run, log, offset_s)
    return run_lines(run), lambda out: write_run_page(run, out), Path(f"{path.stem}.html")


def _several(paths: Sequence[Path], kind: str, as_json: bool) -> Parts:
    from ..profiles.reports import comparison, tune_text
    from ..profiles.results.result_files import read_profile, read_tune

    default = Path("comparison.html")
    if kind == "profile":
        lines = comparison.compare_lines(*(read_profile(path) for path in paths))
        return lines, lambda out: comparison.write_comparison(paths[0], paths[1], out), default
    lines = [line for path in paths for line in ("", str(path), *tune_text.summary_lines(read_tune(path)))]
    return lines[1:], lambda out: comparison.write_tune_comparison(paths, out), default


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), report, arguments)
