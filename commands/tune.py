"""sacvit-tune: the whole accuracy x latency x energy curve of an engine pair on your data, and an eta that can be defended."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..bundle.errors import SacvitError, UsageError
from .frame import new_parser, run_command, stop_on_signals


def build_parser() -> argparse.ArgumentParser:
    about = (
        "Run both stages once on every labelled image, draw accuracy, time and energy over eta, fit a temperature and eta on"
        " one half and report on the other. --point, --min-top1, --max-ms or --exit-rate store the gate in the manifest."
    )
    parser = new_parser("sacvit-tune", about)
    parser.add_argument(
        "--engine", type=Path, nargs=2, required=True, metavar=("EE", "SAC"), help="the two files of a bundle"
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="one folder a class, a CSV of path,label, or images.npy and labels.npy"
    )
    parser.add_argument("--report-data", type=Path, metavar="DATA", help="report on these (default: half of --data)")
    parser.add_argument(
        "--labels", type=Path, help="text file with one class name a line, where the engines carry none"
    )
    parser.add_argument(
        "--plain", type=Path, metavar="FILE", help="the plain ViT as a point: its own checkpoint, exported"
    )
    parser.add_argument(
        "--profile", type=Path, metavar="DIR", help="energy, from sacvit-profile --out DIR of these engines"
    )
    parser.add_argument("--batch", type=int, default=1, help="images a pass; times are a pass's (default: %(default)s)")
    parser.add_argument(
        "--provider", choices=("auto", "cpu", "cuda", "tensorrt"), default="auto", help="of .onnx engines"
    )
    rule = parser.add_mutually_exclusive_group()
    rule.add_argument(
        "--point",
        choices=("fast", "balanced", "accurate"),
        help="lose at most 2 or 0.5 points of top-1 to SAC, on other images too (95 %% sure); or the highest top-1",
    )
    rule.add_argument("--min-top1", type=float, metavar="PERCENT", help="the most exits with this top-1")
    rule.add_argument("--max-ms", type=float, metavar="MS", help="the best top-1 within this mean time")
    rule.add_argument("--exit-rate", type=float, metavar="SHARE", help="this share of exits, 0 to 1")
    parser.add_argument("--out", type=Path, default=Path("tuned"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="the result as JSON on stdout instead of the table")
    return parser


def tune_command(options: argparse.Namespace) -> int:
    from msgspec.structs import replace
    from tqdm import tqdm

    from ..bundle.manifest import MANIFEST_NAME
    from ..bundle.stored_gate import own_manifest, write_tuned
    from ..images.class_names import read_class_names
    from ..profiles.tuning.report import promise_line, summary_lines, write_picture, write_report
    from ..profiles.tuning.rules import rule_of
    from ..profiles.tuning.tune import tune, write_result
    from ..runtime.chain.pipeline import CHUNK, Pipeline

    rule = rule_of(options.point, options.min_top1, options.max_ms, options.exit_rate)
    if options.out.exists() and not options.out.is_dir():
        raise UsageError(f"--out {options.out} is a file; give a folder")
    stop_on_signals()
    pipeline = Pipeline.load(options.engine[0], options.engine[1], provider=options.provider)
    most = pipeline.ee.capacity or CHUNK
    if not 1 <= options.batch <= most:
        raise UsageError(f"--batch {options.batch}: these engines take 1 to {most} images a pass")
    classes = int(pipeline.ee.outputs["logits"].shape[0])
    labels = None if options.labels is None else read_class_names(options.labels, "--labels", classes)
    if rule is not None:
        own_manifest(options.engine[0], pipeline.ee.record)  # before minutes of work
    with tqdm(unit="image", leave=False, disable=not sys.stderr.isatty()) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        found = tune(
            pipeline,
            options.data,
            options.out,
            report_data=options.report_data,
            labels=labels,
            batch=options.batch,
            profile=options.profile,
            plain=options.plain,
            provider=options.provider,
            rule=rule,
            progress=progress,
            tell=lambda line: print(printable(line), file=sys.stderr),
        )
    with told_when_full(options.out / "tune.json", options.out):
        write_result(found.result, options.out / "tune.json")
    with told_when_full(options.out / "tune.html", options.out):
        write_report(found.result, options.out / "tune.html")
    with told_when_full(options.out / "tune.png", options.out):
        pictures = write_picture(found.result, options.out / "tune.png")
    if found.chosen is not None:
        point = found.result["points"][found.chosen.point]
        if point["promise"] is not None and not point["promise"]["is_kept"]:
            print(promise_line(found.chosen.point, point["promise"]), file=sys.stderr)
        with told_when_full(options.engine[0].parent / MANIFEST_NAME, options.out):
            path = write_tuned(
                options.engine[0],
                pipeline.ee.record,
                replace(found.chosen, data=found.result["data"], report=point["report"], promise=point["promise"]),
            )
        print(
            f"stored in {path}: eta {found.chosen.threshold:g}, temperature {found.chosen.temperature:g}",
            file=sys.stderr,
        )
    else:
        print("nothing was stored: choose with --point, --min-top1, --max-ms or --exit-rate", file=sys.stderr)
    written = ["tune.json", "tune.html", *(["tune.png"] if pictures else [])]
    print(f"written: {', '.join(str(options.out / name) for name in written)}", file=sys.stderr)
    if not pictures:
        print("no tune.png: matplotlib is not installed (pip install matplotlib)", file=sys.stderr)
    lines = [json.dumps(found.result, indent=1)] if options.json else map(printable, summary_lines(found.result))
    print("\n".join(lines))
    return 0


@contextmanager
def told_when_full(path: Path, out: Path) -> Iterator[None]:
    """A file that the disk refuses, by its name: what stood there before still does, and the passes need not be run again."""
    try:
        yield
    except OSError as reason:
        raise SacvitError(
            f"{path} cannot be written: {reason.strerror or reason}. What stood there before still does, and the answers"
            f" are kept in {out / 'answers'}: make room, and call it again"
        ) from None


def printable(line: str) -> str:
    """A line that holds names of files, without what would steer a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), tune_command, arguments)
