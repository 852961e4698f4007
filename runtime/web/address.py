"""Where the web view listens, and the token that it asks for."""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import socket
from dataclasses import dataclass

from ...bundle.errors import UsageError

TOKEN_VARIABLE = "SACVIT_WEB_TOKEN"  # noqa: S105  # a name
LEAST_TOKEN = 16  # characters
LOOPBACK = "127.0.0.1"
ANY_HOST = ("0.0.0.0", "::")  # noqa: S104  # only where the user asks for it


@dataclass(frozen=True)
class WebAddress:
    """Where the server listens. token: what a browser must bring; None on loopback, where only this machine can ask."""

    host: str
    port: int
    token: str | None

    @property
    def is_loopback(self) -> bool:
        return _is_loopback(self.host)

    def url(self, port: int) -> str:
        """What a person opens, with the port that the system gave."""
        host = socket.gethostname() if self.host in ANY_HOST else self.host
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{port}/" + ("" if self.token is None else f"?token={self.token}")


def parse_web_address(text: str) -> WebAddress:
    """The address of --web: PORT on loopback, or HOST:PORT. A port of 0 is chosen by the system.

    The token is that of the environment's SACVIT_WEB_TOKEN; beyond loopback one is made where there is none. Raises UsageError.
    """
    match = re.fullmatch(r"(?:(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):)?(?P<port>\d{1,5})", text)
    if match is None or int(match["port"]) > 65535:
        raise UsageError(f"--web {text}: give a port, as 8080, or host and port, as 0.0.0.0:8080 or [::]:8080")
    host = (match["host"] or LOOPBACK).strip("[]")
    token = os.environ.get(TOKEN_VARIABLE) or None
    if token is not None and not re.fullmatch(rf"[!-~]{{{LEAST_TOKEN},200}}", token):
        raise UsageError(f"{TOKEN_VARIABLE}: a token has {LEAST_TOKEN} to 200 characters of ASCII, and no spaces")
    if token is None and not _is_loopback(host):
        token = secrets.token_urlsafe(24)
    return WebAddress(host, int(match["port"]), token)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name of the network


def listen(address: WebAddress) -> socket.socket:
    """The socket of the server. Raises UsageError where the port is in use or not allowed, or the host is not this machine."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as reason:
        raise UsageError(f"--web: the host {address.host} is not known: {reason}") from None
    taken = socket.socket(family, kind, protocol)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind(place)
        taken.listen(64)
    except OSError as reason:
        taken.close()
        cure = "Give another port" if address.port else "Give another host"
        raise UsageError(f"--web {address.host}:{address.port}: {reason.strerror}. {cure}") from None
    taken.setblocking(False)
    return taken
