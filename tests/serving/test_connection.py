"""A connection to a server that may send anything: what is not HTTP, too long, too late, or nothing at all."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from types import SimpleNamespace
from typing import Any

import pytest

from sacvit.bundle.errors import DeviceError, EngineError, UsageError
from sacvit.serving import connection
from sacvit.serving.connection import Connection

Serve = Callable[..., str]


@pytest.fixture
def serving() -> Iterator[Serve]:
    """A function that starts a server and gives its address.

    Each argument is for one connection: a list of bytes, each sent as the answer to one request, or an iterator of bytes
    that are sent until the client hangs up.
    """
    listeners: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def start(*connections: Any) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def run() -> None:
            with suppress(OSError):  # the client hangs up, or the test ends
                for answers in connections:
                    peer, _ = listener.accept()
                    with peer:
                        if isinstance(answers, list):
                            for answer in answers:
                                read_request(peer)
                                peer.sendall(answer)
                        else:
                            read_request(peer)
                            for piece in answers:
                                peer.sendall(piece)

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for listener in listeners:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        thread.join()


def read_request(peer: socket.socket) -> None:
    content = b""
    while b"\r\n\r\n" not in content:
        piece = peer.recv(65536)
        if not piece:
            raise OSError("the client hung up")
        content += piece


def reply(content: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(content)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + content


def endless(start: bytes, piece: bytes) -> Iterator[bytes]:
    yield start
    while True:
        yield piece


def test_an_answer_has_status_headers_and_content(serving: Serve) -> None:
    with closing(Connection(serving([reply(b"abc", "Some-Name: 5")]))) as one:
        answer = one.exchange("/x", 10)
    assert (answer.status, answer.headers["some-name"], answer.content) == (200, "5", b"abc")


def test_one_connection_serves_many_requests(serving: Serve) -> None:
    """The server accepts one alone."""
    with closing(Connection(serving([reply(b"a"), reply(b"b"), reply(b"")]))) as one:
        assert [one.exchange("/", 10).content for _ in range(3)] == [b"a", b"b", b""]


def test_a_connection_that_the_server_closed_meanwhile_is_opened_again(serving: Serve) -> None:
    with closing(Connection(serving([reply(b"a")], [reply(b"b")]))) as one:
        assert [one.exchange("/", 10).content for _ in range(2)] == [b"a", b"b"]


def test_a_body_in_parts_arrives_whole() -> None:
    received = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            peer, _ = listener.accept()
            with peer, peer.makefile("rb") as file:
                while (line := file.readline()) != b"\r\n":
                    received.append(line)
                received.append(file.read(6))
                peer.sendall(reply(b"ok"))

        thread = threading.Thread(target=run)
        thread.start()
        with closing(Connection(f"http://127.0.0.1:{listener.getsockname()[1]}")) as one:
            one.exchange("/x", 10, [b"abc", memoryview(b"def")], {"Own": "1"})
        thread.join()
    assert received[0] == b"POST /x HTTP/1.1\r\n" and received[-1] == b"abcdef"
    assert {b"Content-Length: 6\r\n", b"Own: 1\r\n"} <= set(received)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", bytes(1 << 16)),  # until the connection ends
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n", bytes(1 << 16)),
        (CHUNKED, b"10000\r\n" + bytes(1 << 16) + b"\r\n"),
    ],
)
def test_an_answer_without_end_is_refused_at_the_limit(serving: Serve, start: bytes, piece: bytes) -> None:
    with (
        closing(Connection(serving(endless(start, piece)))) as one,
        pytest.raises(EngineError, match="/x answered with more than the 1000 bytes that were expected"),
    ):
        one.exchange("/x", 1000)


@pytest.mark.parametrize(
    "content",
    [
        b"\x15\x03\x01\x00\x02\x02",  # TLS
        b"HTTP/1.1 9999 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x" * 70_000,
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n",
        CHUNKED + b"zz\r\n",
    ],
)
def test_what_is_not_http_is_refused(serving: Serve, content: bytes) -> None:
    with closing(Connection(serving([content]))) as one, pytest.raises(EngineError, match="does not speak HTTP"):
        one.exchange("/", 1000)


@pytest.mark.parametrize("answers", [[], [b""]])
def test_a_server_that_hangs_up_is_reported(serving: Serve, answers: list[bytes]) -> None:
    with (
        closing(Connection(serving(answers, answers))) as one,
        pytest.raises(DeviceError, match=r"does not answer: .*[^.]\. Is the server up"),
    ):
        one.exchange("/", 1000)


def test_an_answer_that_comes_in_drips_is_given_up_after_the_time_limit(
    serving: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte comes in time, the whole does not: a clock that runs 20 s per byte."""
    monkeypatch.setattr(connection, "PIECE_BYTES", 1)
    monkeypatch.setattr(connection, "time", SimpleNamespace(monotonic=itertools.count(0, 20).__next__))
    drips = endless(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", b"x")
    with closing(Connection(serving(drips))) as one, pytest.raises(DeviceError, match="no whole answer within 60 s"):
        one.exchange("/", 1000)


@pytest.mark.parametrize(
    "address",
    "x localhost:8000 grpc://localhost:8001 http:// http://a/b http://a?b http://a#b http://a:b http://a:70000 http://a:0"
    f" http://[::1 http://.:8 http://{'a' * 64}:8 http://me:secret@a".split(),
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match=r"give an address such as http://127\.0\.0\.1:8000"):
        Connection(address)
