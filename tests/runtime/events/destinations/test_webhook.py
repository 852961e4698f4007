from __future__ import annotations

import json

import pytest
from hook_server import HookServer, says

from sacvit.bundle.errors import UsageError
from sacvit.runtime.events.destinations.destination import DeliveryError
from sacvit.runtime.events.destinations.webhook import Webhook

BODY = {"event": "label=nut", "id": "f" * 32}


def send(answer, **limits: float) -> str:
    """What the server got. Raises what `send` raises."""
    server = HookServer(answer)
    try:
        Webhook(server.url.removeprefix("webhook:"), **limits).send(BODY, None)
        return server.requests[0]
    finally:
        server.close()


def test_an_event_is_posted_as_json():
    head, _, body = send(says("200 OK")).partition("\r\n\r\n")
    assert head.startswith("POST /hook?token=secret HTTP/1.1\r\n")
    assert "Content-Type: application/json" in head and f"Idempotency-Key: {'f' * 32}" in head
    assert json.loads(body) == BODY


@pytest.mark.parametrize(
    "answer",
    [says("500 Internal Server Error"), says("404 Not Found"), says("302 Found", "Location: file:///etc/passwd")],
    ids=["500", "404", "redirect"],
)
def test_any_other_status_is_no_delivery(answer):
    with pytest.raises(DeliveryError, match=r"the server answers \d+"):
        send(answer)


def test_a_server_that_says_nothing_is_given_up():
    server = HookServer(lambda connection: server.stopped.wait())
    with pytest.raises(DeliveryError, match=r"no answer within 0.05 s"):
        Webhook(server.url.removeprefix("webhook:"), silence_s=0.05).send(BODY, None)
    server.close()


def test_a_server_that_sends_headers_for_ever_is_given_up():
    def dribble(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while not server.stopped.wait(0.01):
            connection.sendall(b"X")

    server = HookServer(dribble)
    with pytest.raises(DeliveryError, match=r"no answer within 0.1 s"):
        Webhook(server.url.removeprefix("webhook:"), silence_s=5, whole_s=0.1).send(BODY, None)
    server.close()


def test_a_body_without_end_is_not_read():
    def flood(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not server.stopped.is_set():
            connection.sendall(bytes(65536))

    server = HookServer(flood)
    Webhook(server.url.removeprefix("webhook:")).send(BODY, None)
    server.close()


def test_what_is_no_http_is_no_delivery():
    with pytest.raises(DeliveryError):
        send(lambda connection: connection.sendall(b"\x00\xffnonsense\r\n"))


def test_a_server_that_is_not_there_is_no_delivery():
    with pytest.raises(DeliveryError, match="Connection refused"):
        Webhook("http://127.0.0.1:1/").send(BODY, None)


def test_messages_do_not_show_a_token():
    assert Webhook("https://example.org:8443/hook/secret?token=secret").shown == "webhook https://example.org:8443/***"


@pytest.mark.parametrize(
    "url", ["", "ftp://host/x", "http://", "http://host:port/", "http://a:b@host/", "http://host/a b"]
)
def test_an_address_with_a_mistake_is_refused(url):
    with pytest.raises(UsageError, match="--to webhook"):
        Webhook(url)
