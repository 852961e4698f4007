"""What every command shares: --version, --verbose, --traceback, logging, one-line errors, exit codes, signals."""

from __future__ import annotations

import argparse
import errno
import io
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ..bundle.errors import EXIT_INTERRUPTED, SacvitError, UsageError
from ..images.opencv import silence_opencv
from ..machine.interrupts import stop_on
from ..machine.terminal import terminal_safe
from ..machine.visible_gpus import leave_visible
from ..runtime.engines.backends import gpu_provider
from .config import parse_options, print_config
from .hints import EXAMPLES, HintingParser, meant

if TYPE_CHECKING:
    from ..runtime.engines.options import BackendName
    from ..runtime.engines.pairs import Found

CURES = {  # packages of our extras, by the name that is imported
    "cv2": "On a Jetson: sudo apt install python3-opencv; elsewhere: pip install opencv-python",
    "onnxruntime": "pip install 'sacvit[cpu]', or 'sacvit[gpu]'",
    "torch": "pip install 'sacvit[export]'",
    "safetensors": "pip install 'sacvit[export]'",
    "onnx": "pip install 'sacvit[export]'",
    "onnx_graphsurgeon": "pip install 'sacvit[export]'",
    "tensorrt": "On a Jetson it comes with JetPack: make the environment with --system-site-packages; elsewhere:"
    " pip install 'sacvit[tensorrt]'",
    "cuda": "pip install cuda-bindings, of the driver's CUDA: 'cuda-bindings<13' on JetPack 6, newer on JetPack 7",
    "tensorrt_rtx_libs": "pip install 'sacvit[rtx]' (x86_64 Linux)",
    "tensorrt_rtx_bindings": "pip install 'sacvit[rtx]' (x86_64 Linux)",
    "openvino": "pip install 'sacvit[openvino]'",
    "aiohttp": "pip install 'sacvit[web]'",
    "prometheus_client": "pip install 'sacvit[web]'",
    "paho": "pip install 'sacvit[mqtt]'",
    "shtab": "pip install 'sacvit[completion]'",
    "tensorboard": "pip install 'sacvit[curves]'",
    "matplotlib": "pip install 'sacvit[export]'",
}
# Errors that a user's disk or permissions can cause. Any other OSError is a defect of sacvit.
OF_THE_MACHINE = frozenset(
    [
        *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG),
        *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.ENODEV, errno.ENXIO),
        *(errno.ELOOP, errno.ETXTBSY, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.ENOMEM),
    ]
)
# Backends of a command without --provider: sacvit-serve, whose Triton runs .onnx files with ONNX Runtime.
WITHOUT_PROVIDER: tuple[BackendName, ...] = ("onnxruntime", "tensorrt", "tensorrt-rtx")
WITHOUT_NAME = frozenset([errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM])


class _Version(argparse.Action):
    """--version prints the environment too: the first thing a bug report needs."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from ..machine.packages import describe_environment

        print(f"{parser.prog} {describe_environment()}")
        parser.exit()


class _Completion(argparse.Action):
    """--print-completion writes a script for the shell, which completes options, their choices and file names."""

    def __call__(self, parser: argparse.ArgumentParser, _: object, shell: object, __: object = None) -> None:
        import shtab

        for action in parser._actions:  # argparse gives no other access to them
            if action.nargs != 0 and action.choices is None:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
        print(shtab.complete(parser, str(shell)))
        parser.exit()


class _Parser(HintingParser):
    """Prints messages safely: they repeat arguments, which may be names of other people's files that the shell filled in."""

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        if message:
            print_safe(message)
        super().exit(status)


def new_parser(prog: str, description: str) -> argparse.ArgumentParser:
    example = f"Example: {EXAMPLES[prog]}" if prog in EXAMPLES else None
    parser = _Parser(prog=prog, description=description, epilog=example, allow_abbrev=False)
    parser.add_argument(
        "--version", action=_Version, nargs=0, help="Print the versions of everything involved, and exit."
    )
    parser.add_argument(
        "--print-completion",
        action=_Completion,
        choices=("bash", "zsh", "tcsh"),
        metavar="SHELL",
        help="Print a script that completes the options in bash, zsh or tcsh, and exit.",
    )
    parser.add_argument("--verbose", action="store_true", help="Print more about each step, with times.")
    parser.add_argument("--traceback", action="store_true", help="Print where in the code an error was raised.")
    return parser


class _ToStderr(logging.Handler):
    """Prints records on stderr, above a progress bar where one stands there."""

    def emit(self, record: logging.LogRecord) -> None:
        text = "\n".join(map(terminal_safe, self.format(record).splitlines()))
        bars = sys.modules.get("tqdm")  # without it there is no bar
        if bars is not None and sys.stderr.isatty():
            bars.tqdm.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)


class _Plain(logging.Formatter):
    """The message alone; warnings and errors begin with their level."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno < logging.WARNING else f"{record.levelname.lower()}: {text}"


def set_up_logging(is_verbose: bool) -> None:
    """Sends the log of our modules to stderr, from INFO on; with `is_verbose` all of it, with time and module."""
    handler = _ToStderr()
    long = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(long if is_verbose else _Plain())
    ours = logging.getLogger(__package__.partition(".")[0])
    ours.handlers, ours.propagate = [handler], False
    ours.setLevel(logging.DEBUG if is_verbose else logging.INFO)


def stop_on_signals() -> None:
    """Treats a service manager's stop and a closed terminal as Ctrl-C: results are kept, and changed settings are restored."""
    stop_on(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_command(
    parser: argparse.ArgumentParser,
    command: Callable[[argparse.Namespace], int],
    arguments: Sequence[str] | None = None,
) -> int:
    """Parses, runs, and turns every error into one line on stderr and its exit code. --traceback adds where it came from."""
    try:
        options = parse_options(parser, sys.argv[1:] if arguments is None else arguments)
    except (SacvitError, ModuleNotFoundError) as fault:  # of a value that has a form of its own, as --batch 1,8,32
        code, message = explain(fault)
        print_safe(f"{parser.prog}: {message}")
        return code
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for labels that the terminal cannot show
    set_up_logging(options.verbose)
    silence_opencv()
    stop_on_signals()
    try:
        if getattr(options, "print_config", False):
            print(print_config(parser, options), flush=True)
            return 0
        if getattr(options, "engine", None) is not None:
            found = engines_of(parser, options)
            options.engine = found.ee, found.sac
            if hasattr(options, "provider"):
                options.provider = found.provider
                if options.device is not None:
                    options.provider = gpu_provider(found.ee, found.provider)
                    leave_visible(options.device)
        code = command(options)
        sys.stdout.flush()  # here, where a closed pipe is still handled
        return code
    except BrokenPipeError:
        # `| head` closed our stdout. The interpreter must not write to it again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except BaseException as fault:
        if isinstance(fault, SystemExit | GeneratorExit):
            raise
        if options.traceback:
            print_safe("".join(traceback.format_exception(fault)))
        code, message = explain(fault)
        print_safe(f"{parser.prog}: {message}")
        return code


def engines_of(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Found:
    """EE and SAC of --engine, and what runs them: two files, or what find_pair takes of a folder.

    Raises UsageError for another number of paths.
    """
    if further := options.engine[2:]:
        hint = meant(parser.prog, str(further[0]), set(parser._option_string_actions))
        raise UsageError(
            f"--engine takes the folder of a bundle or its two files; {further[0]} is one more. {hint}".rstrip()
        )
    from ..runtime.engines.pairs import find_pair  # here: --help answers without numpy

    engine, sac = (*options.engine, None)[:2]
    if hasattr(options, "provider"):
        return find_pair(engine, sac, options.provider)
    return find_pair(engine, sac, backends=WITHOUT_PROVIDER)


def print_safe(text: str) -> None:
    """Prints text on stderr, line by line, without characters that could control a terminal."""
    print("\n".join(map(terminal_safe, text.splitlines())), file=sys.stderr)


def explain(fault: BaseException) -> tuple[int, str]:
    """The exit code and the message of what a command raised."""
    match fault:
        case SacvitError():
            return fault.exit_code, str(fault)
        case KeyboardInterrupt():
            return EXIT_INTERRUPTED, "interrupted"
        case ModuleNotFoundError() if cure := CURES.get((fault.name or "").partition(".")[0]):
            return 1, f"this needs {fault.name}, which is not installed. {cure}"
        case OSError(errno=number) if number in (OF_THE_MACHINE if fault.filename else WITHOUT_NAME):
            where = f"{fault.filename}: " if fault.filename else ""
            return 1, f"{where}{fault.strerror or fault}"
        case MemoryError():
            return 1, f"out of memory: {fault or 'close other programs, or give smaller input'}"
    last = traceback.extract_tb(fault.__traceback__)[-1:]
    place = f" in {Path(last[0].filename).name}, line {last[0].lineno}" if last else ""
    return 1, (
        f"internal error{place}: {type(fault).__name__}: {fault}. This is a defect of sacvit: please report it with the"
        f" output of the same command with --traceback, and of --version"
    )
