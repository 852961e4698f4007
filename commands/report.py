"""sacvit-report: pages of what sacvit-profile and sacvit-tune measured, of two of them side by side, and of tegrastats logs."""

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
        "Write one HTML page of a profile, a tune run or a tegrastats log, or of two runs side by side, and print its summary."
        " It runs on any machine: copy the folder there.",
    )
    parser.add_argument(
        "paths", type=Path, nargs="+", metavar="DIR",
        help="a folder that sacvit-profile --out or sacvit-tune --out wrote, its .json, or a log of tegrastats (JetPack 3 to"
        " 7.2); give two profiles, or several tune runs, to compare them",
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
    return parser


def report(options: argparse.Namespace) -> int:
    from ..bundle.files import require_writable
    from ..profiles.reports.page import missing_extra
    from ..profiles.results.result_files import kind_of

    if options.text:
        require_effect(build_parser(), options, "--text", ("paths", "json"))
    kinds = [kind_of(path) for path in options.paths]
    if len(set(kinds)) > 1 or (len(kinds) > 1 and kinds[0] == "log") or (len(kinds) > 2 and kinds[0] == "profile"):
        found = ", ".join(f"{path} ({kind})" for path, kind in zip(options.paths, kinds, strict=True))
        raise UsageError(f"give one path, two profiles, or several tune runs; found {found}")
    if options.json and kinds[0] != "log":
        raise UsageError(f"--json is for a tegrastats log; {options.paths[0]} is JSON already")
    if options.out is not None and not (options.text or options.json):
        require_writable(options.out, "--out", ".html")
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
