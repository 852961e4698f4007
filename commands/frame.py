"""What every command shares: --version, one-line errors, exit codes, Ctrl-C."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType

from ..bundle.errors import EXIT_INTERRUPTED, SacvitError

CURES = {  # packages of our extras, by the name that is imported
    "cv2": "On a Jetson: sudo apt install python3-opencv; elsewhere: pip install opencv-python",
    "onnxruntime": "pip install 'sacvit[cpu]', or 'sacvit[gpu]'",
    "torch": "pip install 'sacvit[export]'",
    "onnx": "pip install 'sacvit[export]'",
    "onnx_graphsurgeon": "pip install 'sacvit[export]'",
    "tensorrt": "On a Jetson it comes with JetPack: make the environment with --system-site-packages; elsewhere:"
    " pip install 'sacvit[tensorrt]'",
    "cuda": "pip install cuda-bindings, of the driver's CUDA: 'cuda-bindings<13' on JetPack 6, newer on JetPack 7",
    "tensorboard": "pip install 'sacvit[curves]'",
    "tritonclient": "pip install 'sacvit[client]'",
    "geventhttpclient": "pip install 'sacvit[client]'",
    "matplotlib": "pip install 'sacvit[export]'",
}


class _Version(argparse.Action):
    """--version prints the environment too: the first thing a bug report needs."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from ..machine.packages import describe_environment

        print(f"{parser.prog} {describe_environment()}")
        parser.exit()


def new_parser(prog: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description=description, allow_abbrev=False)
    parser.add_argument("--version", action=_Version, nargs=0, help="print versions of everything involved, and exit")
    return parser


def stop_on_signals() -> None:
    """A service manager's stop and a closed terminal become a Ctrl-C: results are kept, what was changed is put back."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup's wish stands
            signal.signal(number, interrupt)


def run_command(
    parser: argparse.ArgumentParser,
    command: Callable[[argparse.Namespace], int],
    arguments: Sequence[str] | None = None,
) -> int:
    """Parses, runs, and turns a user's mistake into one message on stderr and its exit code; no traceback."""
    options = parser.parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a label that the terminal cannot show is no fault
    try:
        code = command(options)
        sys.stdout.flush()  # here, where a closed pipe still has an answer
        return code
    except SacvitError as fault:
        print(f"{parser.prog}: {fault}", file=sys.stderr)
        return fault.exit_code
    except ModuleNotFoundError as missing:
        cure = CURES.get((missing.name or "").partition(".")[0])
        if cure is None:
            raise
        print(f"{parser.prog}: this needs {missing.name}, which is not installed. {cure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # `| head` closed our stdout: the rest has no reader, and the interpreter must not try again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as fault:
        where = f"{fault.filename}: " if fault.filename else ""
        print(f"{parser.prog}: {where}{fault.strerror or fault}", file=sys.stderr)
        return 1
    except MemoryError as fault:
        print(
            f"{parser.prog}: out of memory: {fault or 'close other programs, or give smaller input'}", file=sys.stderr
        )
        return 1
