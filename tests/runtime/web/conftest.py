"""A served view of a run that the test drives: a gate without engines, answers made by hand, a fast clock."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

pytest.importorskip("aiohttp")
pytest.importorskip("prometheus_client")

from sacvit.runtime.chain.gate import Gate
from sacvit.runtime.web import server
from sacvit.runtime.web.address import listen, parse_web_address
from sacvit.runtime.web.sensors import Readings
from sacvit.runtime.web.server import WebServer
from sacvit.runtime.web.threshold import LiveThreshold
from sacvit.runtime.web.view import WebView

WAIT_S = 20.0


class Chain:
    """What the web view sees of a chain."""

    def __init__(self) -> None:
        self.gate = Gate(0.5)

    @property
    def threshold(self) -> float:
        return self.gate.threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        self.gate.threshold = value


@dataclass
class Served:
    """A view, its server, and requests to it."""

    view: WebView
    chain: Chain
    url: str

    @property
    def place(self) -> str:
        return self.url.partition("//")[2].partition("/")[0]

    def ask(
        self, path: str, method: str = "GET", body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, str, dict[str, str]]:
        """Status, text and headers (names in small letters) of an answer."""
        connection = http.client.HTTPConnection(self.place, timeout=WAIT_S)
        given = dict(headers or {})
        if body is not None:
            given.setdefault("Content-Type", "application/json")
        try:
            connection.putrequest(method, path, skip_host="Host" in given)
            data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
            for name, value in given.items():
                connection.putheader(name, value)
            if data:
                connection.putheader("Content-Length", str(len(data)))
            connection.endheaders(data)
            answer = connection.getresponse()
            text = answer.read().decode()
            return answer.status, text, {name.lower(): value for name, value in answer.getheaders()}
        finally:
            connection.close()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Served]]:
    """Serves a view: cameras by name; token: of the environment; threshold: what can be set and stored."""
    monkeypatch.setattr(server, "TICK_S", 0.02)
    opened: list[WebView] = []

    def open_view(*cameras: str, token: str | None = None, threshold: LiveThreshold | None = None) -> Served:
        if token is not None:
            monkeypatch.setenv("SACVIT_WEB_TOKEN", token)
        chain = Chain()
        view = WebView(
            cameras or ("rtsp://host/front",),
            {"engine": "an engine"},
            threshold or LiveThreshold(chain),
            lambda: Readings({"cpu": 51.0, "gpu": 48.5}, {"VDD_IN": 4.5}, 4.5),
        )
        address = parse_web_address("0")
        opened.append(view)
        return Served(view, chain, WebServer(view, address, listen(address)).url)

    yield open_view
    for view in opened:
        view.close()
