"""The service manager that started this process: messages through systemd's notification socket, and its SIGHUP.

The protocol is a datagram of lines, so it stands here. Of the packages, sdnotify has had no release since 2017 and hides every
error, systemd-python must be compiled against libsystemd on the board, and cysystemd's wheels differ with Python and the
platform: each would be one more thing to install on a device.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import Mapping

logger = logging.getLogger(__name__)
SEND_S = 0.5  # systemd reads its socket at once; a frame never waits longer


class ServiceManager:
    """The socket that NOTIFY_SOCKET names: a path, or with @ in front a name of Linux's abstract namespace.

    watchdog_s: the process counts as hung when it sends no WATCHDOG=1 for so long; None where none is expected.
    """

    def __init__(self, address: str, watchdog_s: float | None) -> None:
        self.watchdog_s = watchdog_s
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(SEND_S)
        self._has_failed = False

    def send(self, *lines: str) -> bool:
        """Sends lines like READY=1. Returns whether they arrived; the first failure is reported."""
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError as reason:
            if not self._has_failed:
                logger.warning("NOTIFY_SOCKET: the service manager takes no message: %s", reason.strerror or reason)
            self._has_failed = True
            return False
        return True

    def send_reloading(self) -> bool:
        """Reports that settings are read again. READY=1 ends that."""
        return self.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def close(self) -> None:
        self._socket.close()


def open_service_manager(environment: Mapping[str, str] = os.environ) -> ServiceManager | None:
    """The service manager of this process; None where it was started otherwise."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address:
        return None
    if address[0] not in "@/":
        logger.warning("NOTIFY_SOCKET=%s: only a path or @name is supported; nothing is sent", address)
        return None
    return ServiceManager(address, _watchdog_s(environment))


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    """WATCHDOG_USEC, where WATCHDOG_PID does not name another process."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    text = environment.get("WATCHDOG_USEC", "")
    return int(text) / 1e6 if text.isdecimal() and int(text) else None


class HangUp:
    """Takes SIGHUP from now on, unless it is ignored, as nohup wants it. The signal may come before the run can act on it."""

    def __init__(self) -> None:
        self._came = False
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            signal.signal(signal.SIGHUP, lambda number, frame: self._note())

    def _note(self) -> None:
        self._came = True

    def take(self) -> bool:
        """Whether a signal came since the last call."""
        came, self._came = self._came, False
        return came
