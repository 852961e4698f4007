"""Who may ask: the token, the Host of the request, and the headers that every answer carries."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from .address import WebAddress

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
OWN_NAMES = ("localhost", "127.0.0.1", "::1")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the first address holds the token
    "Cache-Control": "no-store",
    "Server": "sacvit",
}
ASK = (Path(__file__).parent / "page" / "ask.html").read_text()


class Access:
    """The rules of an address. Without a token only this machine can connect: then the Host must be a name of it, since any
    page in its browser could otherwise be given our address under a name of its own."""

    def __init__(self, address: WebAddress) -> None:
        self._token = address.token

    def cookie(self, request: web.Request) -> str:
        """Its name: cookies do not know ports, and two runs have two tokens."""
        return f"sacvit-{_port_of(request)}"

    def allows(self, request: web.Request) -> bool:
        if self._token is None:
            return True
        header = request.headers.get("Authorization", "")
        given = (
            header.removeprefix("Bearer ")
            if header.startswith("Bearer ")
            else request.cookies.get(self.cookie(request), "")
        )
        return self.is_token(given)

    def is_token(self, given: str) -> bool:
        return self._token is not None and hmac.compare_digest(given.encode(), self._token.encode())

    def is_foreign(self, request: web.Request) -> bool:
        """Whether the request names another machine as its host, or a page of another origin sent it."""
        host = request.headers.get("Host", "")
        if self._token is None and urlsplit(f"//{host}").hostname not in OWN_NAMES:
            return True
        origin = request.headers.get("Origin")
        return origin is not None and urlsplit(origin).netloc != host

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answers 401, 403, or what the handler answers; every answer gets HEADERS."""
        try:
            answer = await self._answer(request, handler)
        except web.HTTPException as refused:
            refused.headers.update(HEADERS)
            raise
        if not answer.prepared:
            answer.headers.update(HEADERS)
        return answer

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if self.is_foreign(request):
                raise web.HTTPForbidden(text="This name or page may not ask here.\n")
        except ValueError:  # of urlsplit, for a Host that is none
            raise web.HTTPBadRequest(text="The Host of this request is none.\n") from None
        if request.path == "/" and self._token is not None and "token" in request.query:
            if not self.is_token(request.query["token"]):
                raise web.HTTPUnauthorized(text=ASK, content_type="text/html")
            to_page = web.HTTPSeeOther("/")
            to_page.set_cookie(self.cookie(request), request.query["token"], httponly=True, samesite="Strict", path="/")
            raise to_page
        if not self.allows(request) and request.path not in ("/style.css", "/colours.css"):
            if request.path == "/":
                raise web.HTTPUnauthorized(text=ASK, content_type="text/html")
            raise web.HTTPUnauthorized(
                text="A token is needed: the header 'Authorization: Bearer TOKEN'.\n",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return await handler(request)


def _port_of(request: web.Request) -> int:
    place = request.transport.get_extra_info("sockname") if request.transport is not None else None
    return place[1] if place else 0
