"""Sends one request to a camera's server over HTTP or RTSP: OpenCV hides the status, and with it the reason of a failure."""

from __future__ import annotations

import hashlib
import re
import secrets
import socket
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from .address import Address, parse_address

if TYPE_CHECKING:
    import ssl

ANSWER_S = 3.0  # to connect, and for each part of an answer; a camera on a local network takes milliseconds
MOST_BYTES = 64 << 10  # of an answer's body that are read
MOST_REDIRECTS = 3
OK, CREDENTIALS_ASKED = 200, 401
DIGESTS = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}


@dataclass(frozen=True)
class Reply:
    """A server's answer: header names in small letters; the body is the text of a description, else empty."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: str


def connect(address: Address, timeout_s: float = ANSWER_S) -> socket.socket:
    """A connection to the address's server. Raises OSError, also for a host name that is unknown or malformed."""
    try:
        return socket.create_connection((address.host.strip("[]"), address.port), timeout=timeout_s)
    except TimeoutError:  # the server does not answer, as opposed to a silent stream
        raise OSError(f"no answer within {timeout_s:g} s") from None
    except UnicodeError as reason:  # of a name that no encoding for DNS exists for
        raise OSError(str(reason)) from None


def ask(address: Address, answer_s: float = ANSWER_S) -> Reply:
    """The server's answer to GET or DESCRIBE; redirects are followed, and user and password are sent when asked for.

    answer_s: for each part of an answer; some servers answer DESCRIBE when their encoder gives its first picture. Raises
    TimeoutError when that takes longer, another OSError without an answer, ValueError for one that is neither HTTP nor RTSP.
    """
    for _ in range(MOST_REDIRECTS):
        reply = _ask_once(address, None, answer_s)
        if reply.status == CREDENTIALS_ASKED and address.user is not None:
            credentials = authorization(address, reply.headers.get("www-authenticate", ""))
            reply = _ask_once(address, credentials, answer_s)
        target = reply.headers.get("location")
        if reply.status not in (301, 302, 303, 307, 308) or target is None:
            return reply
        moved = parse_address(urljoin(address.url_without_user, target))
        address = replace(moved, user=address.user, password=address.password) if moved.host == address.host else moved
    return reply


def _ask_once(address: Address, credentials: str | None, answer_s: float) -> Reply:
    import http.client  # here, as ssl and urllib.request below: --help reads the table of sources

    is_rtsp = address.scheme.startswith("rtsp")
    if is_rtsp:
        lines = [f"DESCRIBE {address.url_without_user} RTSP/1.0", "CSeq: 1", "Accept: application/sdp"]
    else:
        lines = [f"GET {address.rest or '/'} HTTP/1.1", f"Host: {address.place}", "Connection: close"]
    if credentials is not None:
        lines.append(f"Authorization: {credentials}")
    connection = _secured(address) if address.scheme.endswith("s") else connect(address)
    connection.settimeout(answer_s)
    with connection, connection.makefile("rb") as answer:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        first = answer.readline(1024).decode("latin-1").strip()
        match = re.fullmatch(r"(?:HTTP|RTSP)/\d\.\d (\d{3})(?: (.*))?", first)
        if match is None:
            raise ValueError(f"the answer begins with {first[:60]!r}")
        try:
            found = http.client.parse_headers(answer)
        except http.client.HTTPException as reason:
            raise ValueError(str(reason)) from None
        headers = {name.lower(): value for name, value in found.items()}
        for challenge in found.get_all("www-authenticate", []):
            if challenge.lower().startswith("digest"):  # preferred where a server offers both
                headers["www-authenticate"] = challenge
        length = headers.get("content-length", "0")
        size = min(int(length), MOST_BYTES) if is_rtsp and length.isdecimal() else 0
        return Reply(int(match[1]), match[2] or "", headers, answer.read(size).decode("utf-8", "replace"))


def _secured(address: Address) -> ssl.SSLSocket:
    """TLS without a check of the certificate, as FFmpeg does for the stream: cameras have self-signed certificates."""
    import ssl

    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(connect(address), server_hostname=address.host.strip("[]"))


def authorization(address: Address, challenge: str) -> str | None:
    """The Authorization header that answers a challenge, Basic or Digest (RFC 7617, 7616); None for any other."""
    from urllib.request import parse_http_list, parse_keqv_list

    kind, _, rest = challenge.partition(" ")
    user, password = address.user or "", address.password or ""
    if kind.lower() == "basic":
        return "Basic " + b64encode(f"{user}:{password}".encode()).decode()
    told = parse_keqv_list([part for part in parse_http_list(rest) if "=" in part])
    digest = DIGESTS.get(told.get("algorithm", "MD5").upper())
    if kind.lower() != "digest" or digest is None:
        return None

    def hashed(*parts: str) -> str:
        return digest(":".join(parts).encode()).hexdigest()

    is_rtsp = address.scheme.startswith("rtsp")
    method, uri = ("DESCRIBE", address.url_without_user) if is_rtsp else ("GET", address.rest or "/")
    realm, nonce = told.get("realm", ""), told.get("nonce", "")
    secret, request = hashed(user, realm, password), hashed(method, uri)
    fields = {"username": user, "realm": realm, "nonce": nonce, "uri": uri}
    if "auth" in re.split(r"[ ,]+", told.get("qop", "")):
        fields |= {"nc": "00000001", "cnonce": secrets.token_hex(8), "qop": "auth"}
        fields["response"] = hashed(secret, nonce, fields["nc"], fields["cnonce"], "auth", request)
    else:
        fields["response"] = hashed(secret, nonce, request)
    fields |= {name: told[name] for name in ("opaque", "algorithm") if name in told}
    quoted = {name: value.replace("\\", "\\\\").replace('"', '\\"') for name, value in fields.items()}
    return "Digest " + ", ".join(
        f"{name}={value}" if name in ("nc", "qop", "algorithm") else f'{name}="{value}"'
        for name, value in quoted.items()
    )
