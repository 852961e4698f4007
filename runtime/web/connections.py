"""Connections with an end: a client that is slow, silent or one too many cannot hold what others need."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

REQUEST_S = 15.0  # from the connection, or from the last request, to the next whole request and its answer
MOST = 256  # connections at a time


class Connections:
    """Makes the protocol objects of a server, and counts them."""

    def __init__(self, server: web.Server) -> None:
        self._server, self.open = server, 0

    def __call__(self) -> asyncio.Protocol:
        return TimedConnection(self, self._server)


class TimedConnection(web.RequestHandler):
    """aiohttp's own has no limit on the time that the headers of a request, or the reading of an answer, may take."""

    def __init__(self, all_of_them: Connections, server: web.Server) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), keepalive_timeout=REQUEST_S, lingering_time=1.0)
        self._all, self._timer = all_of_them, None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._all.open += 1
        if self._all.open > MOST:
            transport.abort()  # type: ignore[attr-defined]
        self.end_after(REQUEST_S)

    def connection_lost(self, reason: BaseException | None) -> None:
        self._all.open -= 1
        self.end_after(None)
        super().connection_lost(reason)

    def end_after(self, seconds: float | None) -> None:
        """Sets the time left anew; None: no limit, for a WebSocket, which has its own."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if seconds is not None and self.transport is not None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self.transport.abort)

    _timer: asyncio.TimerHandle | None
    _all: Connections


@web.middleware
async def restart_time(request: web.Request, handler: Any) -> web.StreamResponse:
    """A request that has come gives its connection time for the answer and the next request."""
    if isinstance(request.protocol, TimedConnection):
        request.protocol.end_after(REQUEST_S)
    answer: web.StreamResponse = await handler(request)
    return answer
