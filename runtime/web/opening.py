"""The web view that a user asked for: its socket before engines are loaded, its server after that."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Mapping, Sequence

from .address import WebAddress, listen, parse_web_address
from .sensors import Readings
from .server import WebServer
from .threshold import LiveThreshold
from .view import WebView

logger = logging.getLogger(__name__)


class WebPort:
    """The port of --web, taken before engines are loaded. `close` frees it, unless a server has begun to use it.

    Raises UsageError where it is in use.
    """

    def __init__(self, text: str) -> None:
        self._address: WebAddress = parse_web_address(text)
        self._socket: socket.socket | None = listen(self._address)

    def serve(
        self,
        names: Sequence[str],
        about: Mapping[str, str],
        threshold: LiveThreshold,
        read_sensors: Callable[[], Readings],
        stalled_s: float | None,
    ) -> WebView:
        """Starts the server; see `WebView`."""
        assert self._socket is not None
        view = WebView(names, about, threshold, read_sensors, stalled_s)
        server = WebServer(view, self._address, self._socket)
        self._socket = None
        logger.info("web view: %s", server.url)
        return view

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
