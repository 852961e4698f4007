from __future__ import annotations

import socket

import pytest

from sacvit.bundle.errors import UsageError
from sacvit.runtime.web.address import listen, parse_web_address


@pytest.fixture(autouse=True)
def no_token(monkeypatch):
    monkeypatch.delenv("SACVIT_WEB_TOKEN", raising=False)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("8080", "127.0.0.1", 8080),
        ("localhost:0", "localhost", 0),
        ("0.0.0.0:80", "0.0.0.0", 80),
        ("[::1]:8080", "::1", 8080),
        ("board-1.local:65535", "board-1.local", 65535),
    ],
)
def test_an_address_is_a_port_or_host_and_port(text, host, port):
    found = parse_web_address(text)
    assert (found.host, found.port) == (host, port)


@pytest.mark.parametrize(
    "text", ["", "host", ":8080", "65536", "80 80", "http://0.0.0.0:80", "::1:80", "[::1]", "a/b:80", "-1"]
)
def test_what_is_no_address_is_a_usage_error(text):
    with pytest.raises(UsageError, match="--web"):
        parse_web_address(text)


@pytest.mark.parametrize("text", ["8080", "localhost:8080", "127.0.0.2:8080", "[::1]:8080"])
def test_loopback_needs_no_token(text):
    assert parse_web_address(text).token is None


@pytest.mark.parametrize("text", ["0.0.0.0:8080", "[::]:8080", "192.168.1.4:8080", "board.local:8080"])
def test_any_other_host_gets_a_long_token_of_its_own(text):
    first, second = parse_web_address(text).token, parse_web_address(text).token
    assert first != second and len(first) >= 32


def test_the_token_of_the_environment_is_used_on_loopback_too(monkeypatch):
    monkeypatch.setenv("SACVIT_WEB_TOKEN", "0123456789abcdef")
    assert parse_web_address("8080").token == "0123456789abcdef"
    assert parse_web_address("8080").url(8080) == "http://127.0.0.1:8080/?token=0123456789abcdef"


@pytest.mark.parametrize("token", ["short", "with a space 0123", "ünïcödé-0123456789"])
def test_a_token_that_is_too_weak_is_refused_without_being_shown(monkeypatch, token):
    monkeypatch.setenv("SACVIT_WEB_TOKEN", token)
    with pytest.raises(UsageError, match="16 to 200") as refused:
        parse_web_address("8080")
    assert token not in str(refused.value)


def test_the_url_of_every_host_names_this_machine():
    assert parse_web_address("0.0.0.0:0").url(5).startswith(f"http://{socket.gethostname()}:5/?token=")


def test_a_port_in_use_is_named_with_the_cure():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UsageError, match=f"--web 127.0.0.1:{port}: .*in use.*another port"):
            listen(parse_web_address(str(port)))


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_a_host_that_is_not_this_machine_is_a_usage_error(host):
    with pytest.raises(UsageError, match="--web"):
        listen(parse_web_address(f"{host}:0"))
