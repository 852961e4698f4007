"""Events as JSON by POST to an HTTP server: any answer but 2xx, and none in time, counts as not delivered."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from ....bundle.errors import UsageError
from .destination import DeliveryError, DestinationKind, Limits

SILENCE_S = 5.0  # without a byte from the server
WHOLE_S = 15.0  # for one event, also where the server sends a byte now and then
HELP = "webhook:URL: POST to http:// or https://"


class Webhook:
    """See `Destination`. Redirections are not followed, and the body of an answer is not read."""

    wants_picture = False

    def __init__(self, url: str, silence_s: float = SILENCE_S, whole_s: float = WHOLE_S) -> None:
        import http.client  # here: a start of sacvit-run without a webhook does without

        self._silence_s, self._whole_s = silence_s, whole_s
        try:
            parts = urlsplit(url)
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError as reason:
            raise UsageError(f"--to webhook: {reason}") from None
        if parts.scheme not in ("http", "https") or not self._host:
            raise UsageError("--to webhook: give an address as webhook:https://host/path")
        if parts.username is not None:
            raise UsageError("--to webhook: no user and password in the address; give a token in its path or query")
        self._kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._fault = http.client.HTTPException
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if not self._target.isascii() or not self._target.isprintable() or " " in self._target:
            raise UsageError("--to webhook: write special characters of the address percent-encoded")
        self.shown = f"webhook {parts.scheme}://{self._host}{'' if self._port is None else f':{self._port}'}/***"

    def send(self, body: dict[str, Any], picture: bytes | None) -> None:
        connection = self._kind(self._host, self._port, timeout=self._silence_s)
        is_late = threading.Event()

        def end() -> None:
            is_late.set()
            with suppress(OSError, AttributeError):  # not connected yet, or closed meanwhile
                connection.sock.shutdown(socket.SHUT_RDWR)  # what waits on it returns with an error

        late = threading.Timer(self._whole_s, end)
        late.daemon = True
        late.start()
        try:
            headers = {"Content-Type": "application/json", "User-Agent": "sacvit", "Idempotency-Key": str(body["id"])}
            connection.request("POST", self._target, json.dumps(body).encode(), headers)
            status = connection.getresponse().status
            if is_late.is_set():  # http.client takes a connection's end for the end of the headers
                raise TimeoutError
        except TimeoutError:
            limit_s = self._whole_s if is_late.is_set() else self._silence_s
            raise DeliveryError(f"no answer within {limit_s:g} s") from None
        except (OSError, self._fault) as reason:
            if is_late.is_set():
                raise DeliveryError(f"no answer within {self._whole_s:g} s") from None
            raise DeliveryError(f"{getattr(reason, 'strerror', None) or reason or type(reason).__name__}") from None
        finally:
            late.cancel()
            connection.close()
        if not 200 <= status < 300:
            raise DeliveryError(f"the server answers {status}")

    def close(self) -> None: ...


def open_webhook(spec: str, limits: Limits) -> Webhook:
    return Webhook(spec.removeprefix("webhook:"))


WEBHOOK = DestinationKind(HELP, ("webhook", "http", "https"), open_webhook)
