"""The browsers that look: one WebSocket each. A browser asks for every picture, so a slow one gets fewer, and none waits.

From the browser: {"next": 0} when it can take another picture of camera 0. To the browser: text messages {"kind": "state" |
"event", ...}, and binary messages as in `Picture`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Annotated

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from .connections import TimedConnection
from .pictures import Picture

logger = logging.getLogger(__name__)
MOST_VIEWERS = 64
MESSAGE_BYTES = 256
SEND_S = 10.0  # for a message to leave: then the browser is gone
HEARTBEAT_S = 20.0
WAITING_TEXTS = 32  # of a browser that does not read


class Wish(msgspec.Struct, forbid_unknown_fields=True):
    """What a browser sends."""

    next: Annotated[int, msgspec.Meta(ge=0, le=1000)]


class Viewer:
    """A browser: what it waits for, and what waits for it."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self.socket = socket
        self.wanted: set[int] = set()
        self.shown: dict[int, int] = {}  # by camera: the number of the last picture
        self.texts: deque[str] = deque(maxlen=WAITING_TEXTS)
        self.wake = asyncio.Event()

    def put(self, text: str) -> None:
        self.texts.append(text)
        self.wake.set()


class Viewers:
    """All of them. Used in the server's loop alone, except `count`."""

    def __init__(self, want: Callable[[int, bool], None], greeting: Callable[[], list[str]], cameras: int) -> None:
        """want: asks for a picture of a camera; True: also of a frame that was sent before. greeting: a new browser's texts."""
        self._want, self._greeting, self._cameras = want, greeting, cameras
        self._viewers: set[Viewer] = set()
        self._pictures: dict[int, Picture] = {}

    @property
    def count(self) -> int:
        return len(self._viewers)

    def put_text(self, text: str) -> None:
        """Sends a text to everybody."""
        for viewer in self._viewers:
            viewer.put(text)

    def put_picture(self, picture: Picture) -> None:
        """Sends a picture to everybody who waits for one of its camera."""
        self._pictures[picture.camera] = picture
        for viewer in self._viewers:
            if picture.camera in viewer.wanted:
                viewer.wake.set()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """GET /ws, to its end."""
        if self.count >= MOST_VIEWERS:
            raise web.HTTPServiceUnavailable(text=f"{MOST_VIEWERS} browsers look already.\n")
        socket = web.WebSocketResponse(heartbeat=HEARTBEAT_S, max_msg_size=MESSAGE_BYTES, timeout=1.0, compress=False)
        await socket.prepare(request)
        if isinstance(request.protocol, TimedConnection):
            request.protocol.end_after(None)
        viewer = Viewer(socket)
        self._viewers.add(viewer)
        for text in self._greeting():
            viewer.put(text)
        writer = asyncio.create_task(self._write(request, socket, viewer))
        try:
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    break
                wish = msgspec.json.decode(message.data, type=Wish)
                if wish.next < self._cameras:
                    self._take(viewer, wish.next)
        except (msgspec.DecodeError, ValueError):
            logger.debug("a browser sent what no page of ours sends")
        finally:
            self._viewers.discard(viewer)
            writer.cancel()
            await socket.close()
        return socket

    async def close(self) -> None:
        """Ends the connections: the run is over. Browsers try again, and find the next run."""
        sockets = [viewer.socket for viewer in self._viewers]
        await asyncio.gather(*(socket.close(code=WSCloseCode.GOING_AWAY) for socket in sockets), return_exceptions=True)

    def _take(self, viewer: Viewer, camera: int) -> None:
        """A wish for a picture. The first one is not answered with a picture of minutes ago."""
        is_first = camera not in viewer.shown
        if is_first:
            viewer.shown[camera] = self._pictures[camera].number if camera in self._pictures else 0
        viewer.wanted.add(camera)
        viewer.wake.set()
        if self._newer(viewer, camera) is None:
            self._want(camera, is_first)

    def _newer(self, viewer: Viewer, camera: int) -> Picture | None:
        picture = self._pictures.get(camera)
        return picture if picture is not None and picture.number != viewer.shown.get(camera) else None

    async def _write(self, request: web.Request, socket: web.WebSocketResponse, viewer: Viewer) -> None:
        """Sends what waits for a browser, until the connection ends."""
        try:
            while not socket.closed:
                await viewer.wake.wait()
                viewer.wake.clear()
                while viewer.texts:
                    await asyncio.wait_for(socket.send_str(viewer.texts.popleft()), SEND_S)
                for camera in sorted(viewer.wanted):
                    picture = self._newer(viewer, camera)
                    if picture is not None:
                        viewer.wanted.discard(camera)
                        viewer.shown[camera] = picture.number
                        await asyncio.wait_for(socket.send_bytes(picture.message), SEND_S)
        except asyncio.TimeoutError:
            if request.transport is not None:
                request.transport.abort()
        except ConnectionError:
            return  # the connection is ending already
