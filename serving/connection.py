"""HTTP requests to a server that is not trusted: answers are limited in size and in time.

Uses the standard library: Triton's client libraries unpack compressed answers and read answers to their end, both without a
limit.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from urllib.parse import SplitResult, urlsplit

from ..bundle.errors import DeviceError, EngineError, UsageError

CONNECT_S, ANSWER_S = 5.0, 60.0
PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Answer:
    """headers: by their names in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class Connection:
    """Keeps one connection to http://host:port open from request to request. Not for use by two threads at once."""

    def __init__(self, address: str) -> None:
        parts = require_address(address)
        assert parts.hostname is not None
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self.address = address.rstrip("/")
        self._http = kind(parts.hostname, parts.port, timeout=CONNECT_S)

    def exchange(
        self,
        path: str,
        limit_bytes: int,
        body: list[bytes | memoryview] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """The answer to a GET, or to a POST of a body in parts.

        Raises DeviceError without an answer in time, EngineError for an answer that is not HTTP or longer than the limit.
        """
        end_s = time.monotonic() + ANSWER_S
        try:
            response = self._response(path, body, headers or {})
            content = _read(response, limit_bytes, end_s)
        except HTTPException as reason:
            self.close()
            if isinstance(reason, OSError):  # RemoteDisconnected is both
                raise self._silent(reason) from None
            raise EngineError(
                f"{self.address} does not speak HTTP ({reason!r}). Is it the server's HTTP port?"
            ) from None
        except OSError as reason:
            self.close()
            raise self._silent(reason) from None
        if len(content) > limit_bytes:
            self.close()
            raise EngineError(
                f"{self.address}{path} answered with more than the {limit_bytes} bytes that were expected."
                f" Is it a Triton that serves what sacvit-serve wrote?"
            )
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, content)

    def close(self) -> None:
        self._http.close()

    def _response(self, path: str, body: list[bytes | memoryview] | None, headers: Mapping[str, str]) -> HTTPResponse:
        """Repeats the request where the server has closed a connection that was kept open."""
        is_kept = self._http.sock is not None
        try:
            return self._ask(path, body, headers)
        except ConnectionError:
            self.close()
            if not is_kept:
                raise
            return self._ask(path, body, headers)

    def _ask(self, path: str, body: list[bytes | memoryview] | None, headers: Mapping[str, str]) -> HTTPResponse:
        if self._http.sock is None:
            self._http.connect()
        self._http.sock.settimeout(ANSWER_S)
        if body is None:
            self._http.request("GET", path, headers=dict(headers))
        else:
            size = sum(map(len, body))
            self._http.request("POST", path, iter(body), {**headers, "Content-Length": str(size)})
        return self._http.getresponse()

    def _silent(self, reason: OSError) -> DeviceError:
        text = str(reason).rstrip(".") or type(reason).__name__
        return DeviceError(
            f"{self.address} does not answer: {text}. Is the server up? curl {self.address}/v2/health/ready"
        )


def _read(response: HTTPResponse, limit_bytes: int, end_s: float) -> bytes:
    """The answer's body, or its beginning where it is longer than the limit."""
    content = bytearray()
    while len(content) <= limit_bytes and (piece := response.read1(PIECE_BYTES)):
        content += piece
        if time.monotonic() > end_s:
            raise TimeoutError(f"no whole answer within {ANSWER_S:g} s")
    response.close()  # `read1` does not: the connection would refuse the next request
    return bytes(content)


def require_address(address: str) -> SplitResult:
    """The parts of http://host:port or https://host:port. Raises UsageError for any other address."""
    try:
        parts = urlsplit(address)
        host = (parts.hostname or "").encode("idna")
        rest = parts.username or parts.query or parts.fragment or parts.path.strip("/")
        if parts.scheme in ("http", "https") and host and parts.port != 0 and not rest:
            return parts
    except ValueError:  # a malformed port or name
        pass
    raise UsageError(f"--server {address}: give an address such as http://127.0.0.1:8000")
