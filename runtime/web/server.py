"""The server of --web: a thread with its own loop. It answers browsers, Prometheus and scripts."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from ...bundle.errors import SacvitError, UsageError
from ...bundle.figure_style import DARK, LIGHT
from .access import Access
from .address import WebAddress
from .connections import Connections, restart_time
from .metrics import Metrics
from .pictures import Picture, Pictures
from .view import WebView
from .viewers import Viewers

logger = logging.getLogger(__name__)
PAGE = Path(__file__).parent / "page"
FILES = {  # what is served, by its path
    "/": ("index.html", "text/html"),
    "/style.css": ("style.css", "text/css"),
    "/view.js": ("view.js", "text/javascript"),
    "/charts.js": ("charts.js", "text/javascript"),
    "/uplot.js": ("uPlot.iife.min.js", "text/javascript"),
    "/uplot.css": ("uPlot.min.css", "text/css"),
    "/uplot.license": ("uPlot.LICENSE", "text/plain"),
}
TICK_S = 1.0
BODY_BYTES = 1024
BODY_S = 5.0
CLOSING_S = 3.0


class Change(msgspec.Struct, forbid_unknown_fields=True):
    """The body of PUT /api/threshold. save: store it in the bundle as well."""

    threshold: float
    save: bool = False


class WebServer:
    """Serves a `WebView` until it is closed. Making one binds nothing: `taken` is a socket that listens."""

    def __init__(self, view: WebView, address: WebAddress, taken: socket.socket) -> None:
        self._view, self._taken = view, taken
        self._access = Access(address)
        self.url = address.url(taken.getsockname()[1])
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._pictures = Pictures(self._put_picture, lambda: self._viewers.count)
        self._viewers = Viewers(self._pictures.want, self._greeting, len(view.counters.cameras))
        self._metrics = Metrics(view.counters, view.about, self._live_numbers, view.sensors)
        self._files = {path: (PAGE / name).read_bytes() for path, (name, _) in FILES.items()}
        view.viewers = lambda: self._viewers.count
        view.on_answer, view.on_event, view.on_close = self._pictures.offer, self._put_event, self.close
        self._thread = threading.Thread(target=self._run, name="web-server", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends all connections, and the threads."""
        self._pictures.close()
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(2 * CLOSING_S)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except Exception:
            logger.exception("the web view has ended; frames are classified as before")
        finally:
            self._taken.close()
            self._loop.close()

    async def _serve(self) -> None:
        app = web.Application(middlewares=[restart_time, self._access.middleware], client_max_size=BODY_BYTES)
        for path in FILES:
            app.router.add_get(path, self._answer_file)
        app.router.add_get("/colours.css", self._answer_colours)
        app.router.add_get("/ws", self._viewers.serve)
        app.router.add_get("/metrics", self._answer_metrics)
        app.router.add_get("/healthz", self._answer_health)
        app.router.add_get("/api/state", self._answer_state)
        app.router.add_get("/api/threshold", self._answer_threshold)
        app.router.add_put("/api/threshold", self._change_threshold)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSING_S, handle_signals=False)
        await runner.setup()
        assert runner.server is not None
        server = await self._loop.create_server(Connections(runner.server), sock=self._taken)
        ticking = self._loop.create_task(self._tick())
        try:
            await self._end.wait()
        finally:
            ticking.cancel()
            server.close()
            await self._viewers.close()
            await runner.cleanup()

    async def _tick(self) -> None:
        """Once per second: a row for the charts, and the state for everybody who looks."""
        while True:
            await asyncio.sleep(TICK_S)
            await self._loop.run_in_executor(None, self._view.sensors.update)  # tens of files on a Jetson
            row = self._view.history.close_row(time.time(), self._view.sensors.columns())
            if self._viewers.count:
                self._viewers.put_text(_json({"kind": "state", **self._view.state(), "row": row}))

    def _greeting(self) -> list[str]:
        return [
            _json({"kind": "history", "columns": self._view.history.columns()}),
            _json({"kind": "state", **self._view.state(), "row": None}),
            *(_json({"kind": "event", "event": event}) for event in list(self._view.events)),
        ]

    def _live_numbers(self) -> list[tuple[str, str, float]]:
        return [
            ("sacvit_threshold", "The gate's threshold", self._view.threshold.value),
            ("sacvit_viewers", "Browsers that look", self._viewers.count),
            ("sacvit_uptime_seconds", "Since the start of the run", time.monotonic() - self._view.began_s),
        ]

    def _put_picture(self, picture: Picture) -> None:
        self._call(lambda: self._viewers.put_picture(picture))

    def _put_event(self, event: dict[str, Any]) -> None:
        self._call(lambda: self._viewers.put_text(_json({"kind": "event", "event": event})))

    def _call(self, what: Callable[[], None]) -> None:
        """Has the loop call it, from another thread; nothing happens when the server has ended."""
        try:
            self._loop.call_soon_threadsafe(what)
        except RuntimeError:
            logger.debug("the web view has ended")

    async def _answer_file(self, request: web.Request) -> web.Response:
        return web.Response(body=self._files[request.path], content_type=FILES[request.path][1], charset="utf-8")

    async def _answer_colours(self, request: web.Request) -> web.Response:
        light, dark = (";".join(f"--{name}:{colour}" for name, colour in theme.items()) for theme in (LIGHT, DARK))
        text = f":root{{color-scheme:light dark;{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
        return web.Response(text=text, content_type="text/css")

    async def _answer_metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _answer_health(self, request: web.Request) -> web.Response:
        is_well, found = self._view.health()
        return _answer(found, 200 if is_well else 503)

    async def _answer_state(self, request: web.Request) -> web.Response:
        return _answer(
            {**self._view.state(), "history": self._view.history.columns(), "events": list(self._view.events)}
        )

    async def _answer_threshold(self, request: web.Request) -> web.Response:
        return _answer(self._view.threshold.to_dict())

    async def _change_threshold(self, request: web.Request) -> web.Response:
        """Takes `Change` as JSON. A page of another origin cannot send that type without our consent, which it never gets."""
        if request.content_type != "application/json":
            return _refuse("send application/json", 415)
        try:
            text = await asyncio.wait_for(request.read(), BODY_S)
            change = msgspec.json.decode(text, type=Change)
            self._view.threshold.set(change.threshold)
        except (msgspec.DecodeError, UsageError) as reason:
            return _refuse(str(reason), 400)
        logger.info("threshold %g, set in the web view", change.threshold)
        if change.save:
            try:
                path = await self._loop.run_in_executor(None, self._view.threshold.save)
            except (SacvitError, OSError) as reason:
                return _refuse(f"the threshold is {change.threshold:g} now, but was not stored: {reason}", 409)
            logger.info("stored in %s: threshold %g", path, change.threshold)
        return await self._answer_threshold(request)


def _json(found: dict[str, Any]) -> str:
    return msgspec.json.encode(found).decode()


def _answer(found: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(text=_json(found) + "\n", status=status, content_type="application/json")


def _refuse(reason: str, status: int) -> web.Response:
    return _answer({"error": reason}, status)
