"""Power modes of a Jetson: reads the mode in use, switches with NVIDIA's nvpmodel, and restores the old mode.

nvpmodel can refuse and still return 0. Modes that change the number of cores need a reboot, and without a terminal the tool
only prints this. So a switch has succeeded only if the mode read afterwards is the new one.
"""

from __future__ import annotations

import logging
import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ...bundle.errors import DeviceError, UsageError
from ...machine.jetson import NVPMODEL_STATUS, PowerMode, known_power_modes, power_mode_in_use
from ...machine.small_files import ROOT
from ...machine.terminal import terminal_safe

logger = logging.getLogger(__name__)
LIMIT_S = 30.0  # a switch takes a second or two
MAX_OUTPUT_BYTES = 16384
MAX_WORDS = 300  # characters of the tool's output in a message
POLL_S = 0.02
MODE_NAME = r"NV Power Mode:[ \t]*(\S+)"
MODE_NUMBER = r"^[ \t]*(\d{1,9})[ \t]*$"
NOT_ROOT = r"\broot\b|\bsudo\b|permission denied|not permitted|: 13\s*$"  # 13: EACCES, as nvpmodel prints it


class PowerModes:
    """The modes of this machine. command: nvpmodel, by name or path; limit_s: for one call of it."""

    def __init__(self, command: str = "nvpmodel", root: Path = ROOT, limit_s: float = LIMIT_S) -> None:
        self._command, self._root, self._limit_s = command, root, limit_s
        self._half_done = False  # a call did not finish: the machine's note may be wrong

    def current(self) -> PowerMode:
        """The mode in use. Raises DeviceError on a machine that reports none."""
        mode, _ = read_power_mode(self._root, self._command, self._limit_s)
        if mode is None:
            raise DeviceError(
                f"this machine reports no power mode: no /{NVPMODEL_STATUS}, and `{self._command} -q` gives none."
                " --power-modes is for a Jetson; inside a container, mount the file and the tool"
            )
        return mode

    def known(self) -> list[PowerMode]:
        """The modes in /etc/nvpmodel.conf; empty without the file."""
        return known_power_modes(self._root)

    def require(self, mode_ids: Sequence[int]) -> None:
        """Raises UsageError for ids that the table lacks; accepts all where there is no table."""
        known = self.known()
        missing = [str(mode_id) for mode_id in mode_ids if mode_id not in {mode.id for mode in known}]
        if known and missing:
            raise UsageError(
                f"--power-modes: this machine has no mode {', '.join(missing)}; it has {', '.join(map(str, known))}"
            )

    def switch(self, mode_id: int) -> None:
        """Sets the mode. If it is in use already, nvpmodel is not called, since it would undo jetson_clocks.

        Raises UsageError for an unknown id, DeviceError when the machine is not in the mode afterwards: because root or a
        reboot is needed, or without a reason from the tool.
        """
        self.require([mode_id])
        if self.current().id != mode_id:
            self._set(mode_id)

    @contextmanager
    def restored(self) -> Iterator[PowerMode]:
        """The mode in use, which is set again at the end, on exceptions and Ctrl-C too.

        If that fails, it raises DeviceError or, during another exception, prints the message on stderr.
        """
        before = self.current()
        try:
            yield before
        except BaseException:
            try:
                self._put_back(before)
            except DeviceError as reason:
                logger.warning("%s", reason)
            raise
        self._put_back(before)

    def _put_back(self, mode: PowerMode) -> None:
        try:
            if self._half_done or self.current().id != mode.id:
                self._set(mode.id)
        except (DeviceError, KeyboardInterrupt) as reason:
            raise DeviceError(
                f"the power mode was NOT restored to {mode}: {str(reason) or 'interrupted'}."
                f" Restore it by hand: sudo {self._command} -m {mode.id}"
            ) from None

    def _set(self, mode_id: int) -> None:
        mode = next((mode for mode in self.known() if mode.id == mode_id), PowerMode(mode_id))
        arguments = [self._command, "-m", str(mode_id)]
        self._half_done = True
        try:
            code, output = run_limited(arguments, self._limit_s)
        except DeviceError:
            self._half_done = False
            raise
        said = f"; it said: {_words(output)}" if output.strip() else ""
        if code is None:
            raise DeviceError(f"{' '.join(arguments)} did not end within {self._limit_s:g} s and was killed{said}")
        now = self.current()
        complains = code != 0 or "NVPM ERROR" in output
        wants_reboot = re.search("reboot", output, re.IGNORECASE) is not None
        wants_root = complains and re.search(NOT_ROOT, output, re.IGNORECASE | re.MULTILINE) is not None
        self._half_done = complains and not wants_reboot and not wants_root  # both end it before anything is set
        if now.id == mode_id and not complains and not wants_reboot:
            return
        if wants_reboot:
            reason = f"needs a reboot: sudo {' '.join(arguments)}, reboot, and measure in it without --power-modes"
        elif wants_root:
            reason = "needs root: run with sudo, and outside of containers"
        elif complains:
            reason = f"was not set: {self._command} ended with {code}"
        else:
            reason = f"was not set, and {self._command} gives no reason"
        raise DeviceError(f"power mode {mode} {reason}. In use: {now}{said}")


def read_power_mode(root: Path, command: str | Path, limit_s: float) -> tuple[PowerMode | None, str | None]:
    """The mode in use and its source: nvpmodel's note, else the tool's output; (None, None) for none."""
    if mode := power_mode_in_use(root):
        return mode, f"/{NVPMODEL_STATUS}"
    try:
        code, output = run_limited([str(command), "-q"], limit_s)
    except DeviceError:
        return None, None
    # The exit code is ignored: without root the tool prints the mode and then fails on files that it cannot read.
    mode = None if code is None else _mode_in(output, known_power_modes(root))
    return (mode, f"{Path(command).name} -q") if mode else (None, None)


def run_limited(arguments: Sequence[str], limit_s: float) -> tuple[int | None, str]:
    """Exit code and the first 16 KiB of what a tool prints, both streams; the code is None when it was killed at its limit.

    The tool has no input and no terminal, so a question ends it. Our Ctrl-C does not reach it.
    """
    try:
        process = subprocess.Popen(  # noqa: S603
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError) as reason:
        raise DeviceError(f"{arguments[0]} does not start: {reason}") from None
    deadline = time.monotonic() + limit_s
    kept = bytearray()
    assert process.stdout is not None
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while (left := deadline - time.monotonic()) > 0:
                if selector.select(min(left, POLL_S)):
                    piece = os.read(process.stdout.fileno(), 65536)
                    kept += piece[: MAX_OUTPUT_BYTES - len(kept)]
                    if not piece:
                        break
                elif process.poll() is not None:  # a child of the tool may keep the pipe open forever
                    break
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(deadline - time.monotonic(), 0))
    finally:
        was_killed = process.poll() is None
        if was_killed:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    return None if was_killed else process.returncode, kept.decode("utf-8", "replace")


def _mode_in(output: str, known: Sequence[PowerMode]) -> PowerMode | None:
    """Parses `NV Power Mode: MODE_15W` and the line `2` below it, among other lines."""
    name, numbers = re.search(MODE_NAME, output), re.findall(MODE_NUMBER, output, re.MULTILINE)
    if name is None:
        return None
    if numbers:
        return PowerMode(int(numbers[-1]), name[1])
    return next((mode for mode in known if mode.name == name[1]), None)


def _words(output: str) -> str:
    """The end of the tool's output, as one line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    text = " / ".join(dict.fromkeys(lines))
    printable = terminal_safe(text)
    return printable if len(printable) <= MAX_WORDS else f"...{printable[-MAX_WORDS:]}"
