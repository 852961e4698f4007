"""What a user sees of a fault: one message and an exit code, never a traceback."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import signal
import subprocess
import sys

import pytest

from sacvit.bundle import errors
from sacvit.commands.frame import CURES, new_parser, run_command
from sacvit.machine.packages import describe_environment


def run_raising(fault: BaseException, *arguments: str) -> int:
    def command(options: argparse.Namespace) -> int:
        raise fault

    return run_command(new_parser("sacvit-test", "A command that fails."), command, arguments)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.SacvitError, 1),
        (errors.UsageError, 2),
        (errors.ConfigError, 2),
        (errors.CheckpointError, 1),
        (errors.ImageError, 1),
        (errors.GuardError, 3),
        (errors.EngineError, 4),
        (errors.DeviceError, 5),
    ],
)
def test_a_fault_of_the_user_gives_its_exit_code(kind: type[errors.SacvitError], code: int) -> None:
    assert run_raising(kind("what is wrong")) == code


def test_a_fault_prints_the_command_and_the_message_alone(capsys: pytest.CaptureFixture[str]) -> None:
    run_raising(errors.EngineError("ee.plan is from another machine"))
    assert capsys.readouterr() == ("", "sacvit-test: ee.plan is from another machine\n")


ESCAPES = ("\x1b[31mred", "a\u202eb", "\x9b2J")


@pytest.mark.parametrize("text", ESCAPES)
def test_no_message_brings_an_escape_code_to_the_terminal(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    def command(options: argparse.Namespace) -> int:
        logging.getLogger("sacvit.anything").warning("passed over: %s", text)
        raise errors.ImageError(f"{text}.png is damaged")

    assert run_command(new_parser("sacvit-test", "A command that fails."), command, ["--traceback"]) == 1
    printed = capsys.readouterr().err
    assert printed.count("?") >= 3 and all(letter.isprintable() or letter == "\n" for letter in printed)


@pytest.mark.parametrize("text", ESCAPES)
def test_no_refused_argument_brings_an_escape_code_to_the_terminal(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run_command(new_parser("sacvit-test", "A command that fails."), lambda _: 0, [text])
    printed = capsys.readouterr().err
    assert "unrecognized arguments" in printed
    assert all(letter.isprintable() or letter == "\n" for letter in printed)


def test_interruption_gives_exit_code_130() -> None:
    assert run_raising(KeyboardInterrupt()) == 130


def test_interruption_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    run_raising(KeyboardInterrupt())
    assert capsys.readouterr() == ("", "sacvit-test: interrupted\n")


@pytest.mark.parametrize("name", CURES)
def test_a_missing_package_of_an_extra_is_named_with_its_cure(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    run_raising(ModuleNotFoundError(f"No module named '{name}'", name=name))
    wanted = f"sacvit-test: this needs {name}, which is not installed. {CURES[name]}\n"
    assert capsys.readouterr().err == wanted


def test_a_missing_package_gives_exit_code_1() -> None:
    assert run_raising(ModuleNotFoundError("No module named 'torch'", name="torch")) == 1


def test_a_missing_part_of_a_package_gives_the_package_s_cure(capsys: pytest.CaptureFixture[str]) -> None:
    run_raising(ModuleNotFoundError("No module named 'onnx.helper'", name="onnx.helper"))
    assert CURES["onnx"] in capsys.readouterr().err


@pytest.mark.parametrize(
    "fault",
    [
        ModuleNotFoundError("No module named 'sacvit.nowhere'", name="sacvit.nowhere"),
        ZeroDivisionError("division by zero"),
        OSError(errno.EBADF, "Bad file descriptor"),
        FileNotFoundError(errno.ENOENT, "No such file or directory"),  # of no file: nobody gave one
    ],
    ids=repr,
)
def test_a_fault_of_our_own_is_called_a_defect(fault: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_raising(fault) == 1
    assert "internal error in test_frame.py, line" in (said := capsys.readouterr().err)
    assert type(fault).__name__ in said and "--traceback" in said


def test_a_full_disk_is_no_defect_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_raising(OSError(errno.ENOSPC, "No space left on device")) == 1
    assert capsys.readouterr().err == "sacvit-test: No space left on device\n"


def test_a_file_without_rights_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    run_raising(PermissionError(errno.EACCES, "Permission denied", "model.pth"))
    assert capsys.readouterr().err == "sacvit-test: model.pth: Permission denied\n"


def test_traceback_shows_where_an_error_was_raised(capsys: pytest.CaptureFixture[str]) -> None:
    run_raising(errors.UsageError("wrong"), "--traceback")
    said = capsys.readouterr().err
    assert "in command" in said and said.endswith("sacvit-test: wrong\n")


def test_an_escape_code_in_an_error_does_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    run_raising(errors.ImageError("\x1b]0;owned\x07.png cannot be read"), "--traceback")
    assert "\x1b" not in capsys.readouterr().err


def test_the_lines_of_a_long_message_stay_lines(capsys: pytest.CaptureFixture[str]) -> None:
    run_raising(errors.GuardError("two guards failed:\n  one\n  two"))
    assert capsys.readouterr().err == "sacvit-test: two guards failed:\n  one\n  two\n"


def logging_command(options: argparse.Namespace) -> int:
    logger = logging.getLogger("sacvit.somewhere")
    logger.debug("a detail")
    logger.info("news of \x1b[31m")
    logger.warning("look out")
    return 0


def test_news_are_printed_as_they_are_and_warnings_by_their_level(capsys: pytest.CaptureFixture[str]) -> None:
    run_command(new_parser("sacvit-test", "Logs."), logging_command, [])
    assert capsys.readouterr().err == "news of ?[31m\nwarning: look out\n"


def test_verbose_shows_details_with_their_module(capsys: pytest.CaptureFixture[str]) -> None:
    run_command(new_parser("sacvit-test", "Logs."), logging_command, ["--verbose"])
    assert "DEBUG sacvit.somewhere: a detail" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_stop_signal_ends_a_command_as_ctrl_c_does(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_DFL)  # nohup ignores one of them, here too

    def command(options: argparse.Namespace) -> int:
        signal.raise_signal(number)
        return 0

    assert run_command(new_parser("sacvit-test", "Waits."), command, []) == 130


def test_the_command_s_answer_is_the_exit_code() -> None:
    assert run_command(new_parser("sacvit-test", "Answers."), lambda options: 3, []) == 3


def test_the_command_gets_the_parsed_options() -> None:
    parser = new_parser("sacvit-test", "Answers.")
    parser.add_argument("--batch", type=int)
    assert run_command(parser, lambda options: int(options.batch), ["--batch", "8"]) == 8


def test_an_unknown_option_exits_with_2() -> None:
    with pytest.raises(SystemExit) as exit_:
        run_command(new_parser("sacvit-test", "Answers."), lambda options: 0, ["--nonsense"])
    assert exit_.value.code == 2


def test_a_shortened_option_is_refused() -> None:
    parser = new_parser("sacvit-test", "Answers.")
    parser.add_argument("--threshold")
    with pytest.raises(SystemExit) as exit_:
        run_command(parser, lambda options: 0, ["--thresh", "1"])
    assert exit_.value.code == 2


def test_version_prints_the_environment(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_command(new_parser("sacvit-test", "Answers."), lambda options: 1, ["--version"])
    assert capsys.readouterr() == (f"sacvit-test {describe_environment()}\n", "")


def test_version_exits_with_0() -> None:
    with pytest.raises(SystemExit) as exit_:
        run_command(new_parser("sacvit-test", "Answers."), lambda options: 1, ["--version"])
    assert exit_.value.code == 0


def test_version_needs_no_required_option() -> None:
    parser = new_parser("sacvit-test", "Answers.")
    parser.add_argument("--data", required=True)
    with pytest.raises(SystemExit) as exit_:
        run_command(parser, lambda options: 1, ["--version"])
    assert exit_.value.code == 0


@pytest.mark.parametrize("buffering", ["", "1"], ids=["buffered", "unbuffered"])
def test_a_reader_that_leaves_early_causes_no_traceback(buffering: str) -> None:
    code = (
        "import sys; from sacvit.commands.frame import new_parser, run_command\n"
        "def command(options):\n"
        "    while True: print('line')\n"
        "sys.exit(run_command(new_parser('p', 'd'), command, []))"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = os.environ | {"PYTHONUNBUFFERED": buffering}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, **pipes) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()  # what `| head -1` does
        assert process.stderr.read() == b""


def test_a_reader_that_left_before_a_short_answer_causes_no_traceback() -> None:
    code = (
        "import sys; from sacvit.commands.frame import new_parser, run_command\n"
        "def command(options):\n"
        "    sys.stdin.read()\n"
        "    print('line')\n"
        "    return 0\n"
        "sys.exit(run_command(new_parser('p', 'd'), command, []))"
    )
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    environment = os.environ | {"PYTHONUNBUFFERED": ""}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, **pipes) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        process.stdout.close()
        process.stdin.close()  # only now does the command answer
        assert process.stderr.read() == b""
